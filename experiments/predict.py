"""Use what was trained: python -m experiments.predict --workdir runs/digits --data new.npy"""

from recipe_jax.app import commands

if __name__ == "__main__":
    commands.main(commands.predict)
