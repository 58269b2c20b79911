"""Feature tables and label files of a few rows, and the join under test."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.errors import LabelError, TableError
from vqa_assets.labels.labelled import label_features
from vqa_assets.labels.settings import LabelSettings

ADDED = [
    "mos",
    "mos_raw_0_100",
    "mos_label_source",
    "mos_std_dev",
    "mos_n_ratings",
    "mos_label_status",
]


def label(src, mos, **changes):
    found = {"src": src, "mos": mos, "mos_scale": "1-5-acr", "mos_std_dev": 0.5, "n_ratings": 5} | changes
    return {name: value for name, value in found.items() if value is not ...}


class Bench:
    """One feature table and its label files in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.out = folder / "out.parquet"
        self.features(key=["a.mp4", "b.mp4", "c.mp4"], adm2=[0.1, 0.2, 0.3])
        self.label_files = []
        self.corpora = CORPORA

    def features(self, table=None, **columns):
        self.table = pa.table(columns) if table is None else table
        pq.write_table(self.table, self.folder / "features.parquet", row_group_size=1_000)

    def labels(self, *rows, name="konvid_150k.jsonl"):
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.label_files.append(path)
        return path

    def join(self, **settings):
        features, labels = self.folder / "features.parquet", self.label_files
        return label_features(features, labels, self.out, LabelSettings(**settings), self.corpora)

    def joined(self, **settings):
        self.join(**settings)
        return pq.read_table(self.out).to_pylist()

    def refused(self, **settings):
        with pytest.raises((LabelError, TableError)) as caught:
            self.join(**settings)
        assert caught.value.next_step
        return caught.value
