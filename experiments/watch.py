"""The growing report of a run: python -m experiments.watch --workdir runs/digits"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.watch)
