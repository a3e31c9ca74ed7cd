"""The whole recipe: python -m experiments.run --config configs/digits.py --workdir runs/digits"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.run)
