"""Build the page of a run again: python -m experiments.report --workdir runs/digits"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.report)
