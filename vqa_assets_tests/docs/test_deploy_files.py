"""The files in deploy/: what they say agrees with the code, with each other, and with the schemas of who reads them."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from vqa_assets.clips import elsewhere
from vqa_assets.clips.dask_cluster import ADDRESS, read_cluster_file
from vqa_assets_tests.shared.dask_work import slurm_cluster

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
SCALING = (REPOSITORY / "docs/scaling.md").read_text(encoding="utf-8")
PROGRAMS = Path(sys.executable).parent
LINTS = re.findall(r"\t@\$\(BIN\)/(\S+)(.*deploy/.*)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OWN = sorted(name for name in SERVICES if name != "postgres")
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes/values.yaml").read_text(encoding="utf-8"))
CODE_SERVER: dict[str, Any] = VALUES["dagster-user-deployments"]["deployments"][0]
GUARD: dict[str, Any] = {
    f"{one['kind']}/{one['metadata']['name']}": one
    for one in yaml.safe_load_all((DEPLOY / "kubernetes/guard.yaml").read_text(encoding="utf-8"))
}
RELEASE = "vqa"

# What the chart's schema admits in the sections that values.yaml writes (dagster 1.13, values.schema.json).
COMPONENT = {"image", "service", "readinessProbe", "podSecurityContext", "securityContext", "env", "labels", "volumes"}
KNOWN = {
    "": {"global", "generatePostgresqlPasswordSecret", "postgresql", "dagsterWebserver", "ingress", "runLauncher"}
    | {"dagster-user-deployments", "dagsterDaemon", "concurrency", "pythonLogs", "migrate", "telemetry"},
    "global": {"dagsterHome", "postgresqlSecretName", "serviceAccountName", "celeryConfigSecretName"},
    "postgresql": {"enabled", "image", "service", "postgresqlParams", "postgresqlScheme"}
    | {"postgresqlHost", "postgresqlUsername", "postgresqlPassword", "postgresqlDatabase"},
    "dagsterWebserver": COMPONENT | {"replicaCount", "nameOverride", "pathPrefix", "workspace", "enableReadOnly"},
    "dagsterDaemon": COMPONENT
    | {"enabled", "heartbeatTolerance", "runCoordinator", "runMonitoring", "runRetries", "sensors", "schedules"},
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "ingress": {"enabled", "annotations", "labels", "ingressClassName", "dagsterWebserver"},
    "runLauncher": {"type", "config"},
    "concurrency": {"enabled", "pools", "runs"},
    "pythonLogs": {"pythonLogLevel", "managedPythonLoggers", "dagsterHandlerConfig"},
    "migrate": {"enabled"},
    "telemetry": {"enabled"},
}
KNOWN_OF_CODE = COMPONENT | {"name", "dagsterApiGrpcArgs", "codeServerArgs", "port", "includeConfigInLaunchedRuns"}


# Linted


def test_make_check_lints_them_all() -> None:
    linted = " ".join(arguments for _, arguments in LINTS)
    kubernetes = {f"deploy/kubernetes/{path.name}" for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert [program for program, _ in LINTS] == ["hadolint", "check-jsonschema", "kubernetes-validate"]
    for name in {"deploy/Dockerfile", "deploy/compose.yaml", *kubernetes} - {"deploy/kubernetes/values.yaml"}:
        assert name in linted


@pytest.mark.takes_long("three linters")
@pytest.mark.parametrize(
    ("number", "name", "old", "new"),
    [
        (0, "Dockerfile", "USER 10001", "USER root"),
        (1, "compose.yaml", "restart: unless-stopped", "restarts: never"),
        (2, "kubernetes/guard.yaml", "readOnlyRootFilesystem", "readOnlyRootFileSystem"),
    ],
)
def test_a_mistake_in_one_is_found_and_there_is_none(
    tmp_path: Path, number: int, name: str, old: str, new: str
) -> None:
    program, arguments = LINTS[number]
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert old in text
    wrong = tmp_path / Path(name).name
    wrong.write_text(text.replace(old, new), encoding="utf-8")
    for linted, good in ((arguments, True), (arguments.replace(f"deploy/{name}", str(wrong)), False)):
        command = [PROGRAMS / program, *linted.split()]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is good, done.stdout + done.stderr


# The image


def test_the_image_is_made_of_pinned_versions_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    installs = re.findall(r"pip install.*?(?=;|\n\n)", text, re.DOTALL)
    assert len(installs) == 2
    assert all("-c constraints.txt" in one for one in installs)
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    (named,) = re.findall(r"'\.\[(.*)\]'", text)
    assert {*named.split(",")} <= {*extras}
    assert {"postgres", "dask", "kubernetes"} <= {*named.split(",")}
    assert re.search(r"^onnxruntime==", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert text.index("FROM python") < text.rindex("FROM python") < text.index("USER 10001")


def test_what_the_image_copies_is_there_and_what_it_ignores_stays_out() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (?!--)(.*)", text, re.MULTILINE) for name in line.split()[:-1]}
    let_in = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied == let_in
    assert all((REPOSITORY / name).exists() for name in copied)


def test_a_run_in_the_image_for_cpus_takes_workers_in_the_one_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    here, version = elsewhere.packages_here(), metadata.version

    def on_gpus(name: str) -> str:
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return version("onnxruntime") if name == "onnxruntime-gpu" else version(name)

    monkeypatch.setattr(elsewhere.metadata, "version", on_gpus)
    assert elsewhere.packages_here() == here


# Compose


def test_of_compose_only_the_guarded_page_is_published_and_on_this_machine_alone() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published == {"ui": ["127.0.0.1:3000:3000"]}
    assert SERVICES["ui"]["command"][:2] == ["vqa-assets", "ui"]  # with its guard, never dagster-webserver
    assert SERVICES["ui"]["environment"]["VQA_UI_TOKEN"].startswith("${VQA_UI_TOKEN:?")


def test_compose_prepares_the_home_first_and_shows_workers_the_clips_under_one_path() -> None:
    for name in ("ui", "daemon"):
        assert SERVICES[name]["depends_on"] == {"home": {"condition": "service_completed_successfully"}}
        assert SERVICES[name]["environment"][ADDRESS] == "tcp://dask-scheduler:8786"
    assert {str(SERVICES[name]["volumes"]) for name in OWN} == {"['data:/srv/vqa/data', 'home:/srv/vqa/dagster']"}
    for name in OWN:
        assert (SERVICES[name]["cap_drop"], SERVICES[name]["security_opt"]) == (["ALL"], ["no-new-privileges:true"])


# Kubernetes


def test_the_values_are_ones_that_the_chart_takes() -> None:
    assert {*VALUES} <= KNOWN[""]
    for name, section in VALUES.items():
        if isinstance(section, dict):
            assert {*section} <= KNOWN[name], name
    assert {*CODE_SERVER} <= KNOWN_OF_CODE | {"volumeMounts"}
    images = [VALUES["dagsterWebserver"]["image"], VALUES["dagsterDaemon"]["image"], CODE_SERVER["image"]]
    assert images[0] == images[1] == images[2]


@pytest.mark.parametrize("name", ["dagsterWebserver", "dagsterDaemon", "code"])
def test_pods_of_the_values_are_ones_that_kubernetes_takes(name: str) -> None:
    import kubernetes_validate

    one = CODE_SERVER if name == "code" else VALUES[name]
    container = {
        "name": "dagster",
        "image": f"{one['image']['repository']}:{one['image']['tag']}",
        "imagePullPolicy": one["image"]["pullPolicy"],
        "securityContext": one["securityContext"],
        "env": one.get("env", []),
        "volumeMounts": one.get("volumeMounts", []),
        **({"readinessProbe": one["readinessProbe"]} if "readinessProbe" in one else {}),
    }
    spec = {"containers": [container], "securityContext": one["podSecurityContext"], "volumes": one.get("volumes", [])}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "labels": one.get("labels", {})},
        "spec": spec,
    }
    kubernetes_validate.validate(pod, "1.33", strict=True)


def test_what_the_values_repeat_is_what_dagster_yaml_says() -> None:
    ours = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text(encoding="utf-8"))
    daemon, concurrency = VALUES["dagsterDaemon"], VALUES["concurrency"]
    pools, runs = ours["concurrency"]["pools"], ours["concurrency"]["runs"]
    assert concurrency["pools"] == {"granularity": pools["granularity"], "defaultLimit": pools["default_limit"]}
    assert concurrency["runs"]["maxConcurrentRuns"] == runs["max_concurrent_runs"]
    assert concurrency["runs"]["tagConcurrencyLimits"] == runs["tag_concurrency_limits"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]["dequeueIntervalSeconds"]
    assert queue == ours["run_coordinator"]["config"]["dequeue_interval_seconds"]
    for name, key in (
        ("startTimeoutSeconds", "start_timeout_seconds"),
        ("pollIntervalSeconds", "poll_interval_seconds"),
    ):
        assert daemon["runMonitoring"][name] == ours["run_monitoring"][key]
    assert daemon["runRetries"]["maxRetries"] == ours["run_retries"]["max_retries"]
    assert VALUES["pythonLogs"]["managedPythonLoggers"] == ours["python_logs"]["managed_python_loggers"]
    assert VALUES["telemetry"] == ours["telemetry"]
    (scheme,) = re.findall(r"scheme: (\S+)", (DEPLOY / "storage-postgres.yaml").read_text(encoding="utf-8"))
    assert VALUES["postgresql"]["postgresqlScheme"] == scheme


def test_the_web_server_is_reached_by_the_guard_alone_and_the_ingress_leads_to_the_guard() -> None:
    guard = GUARD["Deployment/vqa-guard"]["spec"]["template"]
    labels, (container,) = guard["metadata"]["labels"], guard["spec"]["containers"]
    port = VALUES["dagsterWebserver"]["service"]["port"]
    # The chart calls the web server's Service so, and gives its pods these labels.
    assert container["args"][-2:] == ["--of", f"http://{RELEASE}-dagster-webserver:{port}"]
    assert VALUES["dagsterWebserver"]["readinessProbe"]["httpGet"]["port"] == port
    policy = GUARD["NetworkPolicy/vqa-webserver"]["spec"]
    selected = {"app.kubernetes.io/instance": RELEASE, "component": "dagster-webserver"}
    assert policy["podSelector"] == {"matchLabels": selected}
    assert policy["policyTypes"] == ["Ingress"]
    ways_in = [{"from": [{"podSelector": {"matchLabels": labels}}], "ports": [{"protocol": "TCP", "port": port}]}]
    assert policy["ingress"] == ways_in
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert VALUES["ingress"] == {"enabled": False}
    (rule,) = GUARD["Ingress/vqa"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"]["name"] == GUARD["Service/vqa-guard"]["metadata"]["name"]
    assert GUARD["Service/vqa-guard"]["spec"]["selector"] == labels
    hosts = {one["name"]: one.get("value") for one in container["env"]}
    assert hosts["VQA_UI_HOSTS"] == rule["host"]


def test_the_code_server_is_reached_by_its_own_release_alone() -> None:
    policy = GUARD["NetworkPolicy/vqa-code"]["spec"]
    assert policy["podSelector"] == {"matchLabels": CODE_SERVER["labels"]}
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/instance": RELEASE}}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": CODE_SERVER["port"]}]
    claim = yaml.safe_load((DEPLOY / "kubernetes/data.yaml").read_text(encoding="utf-8"))
    assert CODE_SERVER["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


# SLURM


def test_the_example_of_slurm_submits_the_job_that_stands_beside_it(tmp_path: Path) -> None:
    file = read_cluster_file(DEPLOY / "slurm/cluster.toml")
    assert (file.class_name, file.workers) == ("dask_jobqueue.SLURMCluster", 8)
    options = {**file.options, "shared_temp_directory": str(tmp_path), "log_directory": str(tmp_path / "log")}
    with slurm_cluster(**options) as cluster:
        script = cluster.job_script()
    for found, shown in (
        (str(tmp_path / "log"), str(file.options["log_directory"])),
        (str(tmp_path), str(file.options["shared_temp_directory"])),
        (r"tls://\S+:\d+", "tls://COORDINATOR:PORT"),
        (r"(\.worker\.(?:ca_file|cert|key))\.\w+", r"\1.KEY"),
        (r"\s+\n", "\n"),
    ):
        script = re.sub(found, shown, script)
    assert script.strip() == (DEPLOY / "slurm/job.sh").read_text(encoding="utf-8").strip()


# The page


def test_the_page_on_scaling_names_every_file_and_every_lever() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix not in (".service", ".dockerignore") and path.name != "storage-postgres.yaml":
            assert path.relative_to(REPOSITORY).as_posix() in SCALING, path
