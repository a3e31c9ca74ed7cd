"""A person on the same examples: python -m experiments.human --config configs/digits.py"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.human)
