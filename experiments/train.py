"""One training run: python -m experiments.train --config configs/digits.py --workdir runs/one"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.train)
