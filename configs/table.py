r"""Your own table: a .csv or .tsv file with a header, and the name of the column to predict.

python -m experiments.run --config configs/table.py --workdir runs/mine \
    --config.data.path=mine.csv --config.data.target=price

Text and missing cells are read as they are; a target of numbers with more than twenty values is a
quantity, and needs --config.objective.name=regression. Columns of an index or a name are left out
by --config.data.drop="('id',)". Where several rows are of one person, --config.data.group=person
keeps all of theirs in one split; where rows are dated, --config.data.order=date holds out the last.
Else a score says how well it knows these persons and these days, not the next.

The 178 wines of scikit-learn, saved as a file, reach a test accuracy of 1.0 [0.904, 1.0], and no
gate closes.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict({"name": "table", "path": "", "target": ""})
    config.model = ConfigDict({"name": "mlp", "width": 64, "depth": 2})
    config.optim = ConfigDict({"name": "adamw", "learning_rate": 1e-3})
    config.train = ConfigDict({"batch_size": 16, "epochs": 30})
    config.search = ConfigDict({"name": "random", "trials": 32})
    return config
