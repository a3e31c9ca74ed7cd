"""Text, character by character, with a recurrent network; any UTF-8 file will do.

    python -m experiments.train --config configs/chars_gru.py --workdir runs/chars

The default text, the help topics that come with Python, reaches 1.46 nats a character on validation
and 1.30 on test, where counts of three characters have 1.66. A million characters of plays
(--config.data.path=plays.txt) reach 1.64 nats on validation, and counts 2.11. The report shows what
it writes, also from --config.recipe.prompts="('To be',)".
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # Empty: the help topics that Python ships with. Any UTF-8 file: --config.data.path=mine.txt
    config.data = ConfigDict(
        {"name": "text", "path": "", "window": 64, "validation": 0.05, "test": 0.05}
    )
    config.model = ConfigDict(
        {"name": "rnn", "cell": "gru", "states": "carried", "width": 96, "embedding": 64}
    )
    config.objective = ConfigDict({"name": "next_token"})
    config.optim = ConfigDict({"name": "adamw", "learning_rate": 4e-3, "weight_decay": 0.0})
    config.schedule = ConfigDict({"name": "warmup_cosine"})
    config.train = ConfigDict({"batch_size": 32, "epochs": 4, "evaluations": 16})
    config.search = ConfigDict({"name": "random", "trials": 6})
    config.recipe = ConfigDict({"seeds": 2, "members": 3, "probe_epochs": 1, "range_epochs": 1})
    return config
