"""All checks, no training run: python -m experiments.doctor --config configs/digits.py"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.doctor)
