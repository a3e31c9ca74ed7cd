"""Finished runs beside one another: python -m experiments.compare runs/a runs/b"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.compare)
