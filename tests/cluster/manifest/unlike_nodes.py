"""Node types of every kind, and two applications, that the tests of manifests share."""

from cluster.manifest.serve_config import Application, Http, serve_config
from cluster.nodes import Kubernetes, NodeType, Toleration

HEAD = NodeType(name="head", head=True, num_cpus=4, memory_gib=16.0, node_config={"InstanceType": "m7i.xlarge"})
CPU = NodeType(
    name="cpu", num_cpus=8, memory_gib=31.5, min_nodes=1, max_nodes=3, node_config={"InstanceType": "m7i.2xlarge"}
)
L4 = NodeType(
    name="l4",
    num_cpus=8,
    num_gpus=1,
    accelerator_type="L4",
    memory_gib=32.0,
    custom={"bundle": 2},
    labels={"ray.io/market-type": "spot"},
    max_nodes=4,
    kubernetes=Kubernetes(
        node_selector={"cloud.google.com/gke-accelerator": "nvidia-l4"},
        tolerations=(Toleration(key="spot", operator="Equal", value="yes", effect="NoSchedule"),),
    ),
    node_config={"InstanceType": "g6.2xlarge", "InstanceMarketOptions": {"MarketType": "spot"}},
)
NODES = (HEAD, CPU, L4)
SERVE = serve_config(
    [
        Application(
            "tier-small", "serve.builders:tier", "Tier", {"user_config": {"presets": {"fast": {}}}}, {"class": "a:B"}
        ),
        Application("gateway", "serve.builders:gateway", "Gateway", {"max_ongoing_requests": 700}, route_prefix="/"),
    ],
    Http("0.0.0.0"),  # noqa: S104
)
