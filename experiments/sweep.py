"""Many seeds and settings: python -m experiments.sweep --config configs/digits.py"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.sweep)
