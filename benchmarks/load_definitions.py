"""What loading the definitions costs: every CLI call, sensor process and reload pays for it."""

from benchmarks.cold_processes import compare

TARGET = 1.25


def main() -> None:
    """Print the ratio of loading the definitions to ``import dagster`` alone."""
    found = compare("import vqa_assets.definitions", "import dagster")
    print(found.line("loading the definitions against import dagster", f"target: at most {TARGET} ×"))
