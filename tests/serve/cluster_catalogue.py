"""A catalogue that uses all that a cluster offers: GPU shares, labels with fallbacks, custom resources."""

CLUSTER = """\
version: 1
weights:
  auto: {quality: 1, latency_per_s: 0, cost_per_usd: 0}
  low: {quality: 1, latency_per_s: 0, cost_per_usd: 0}
  medium: {quality: 1, latency_per_s: 0, cost_per_usd: 0}
  high: {quality: 1, latency_per_s: 0, cost_per_usd: 0}
gateway: {scaling: {min_replicas: 2, max_replicas: 4, target_ongoing_requests: 50}}
journal: {url: postgresql+psycopg://switchboard@db.internal/switchboard}
scorer: {class: "replicas.fake:FakeScorer", resources: {num_cpus: 1}}
nodes:
  - {name: head, head: true, num_cpus: 4, memory_gib: 16}
  - {name: cpu, num_cpus: 8, memory_gib: 32, min_nodes: 1, max_nodes: 3}
  - name: l4
    num_cpus: 8
    num_gpus: 1
    accelerator_type: L4
    memory_gib: 32
    labels: {ray.io/market-type: spot}
    max_nodes: 4
    kubernetes:
      node_selector: {cloud.google.com/gke-accelerator: nvidia-l4}
      tolerations: [{key: spot, operator: Equal, value: "yes", effect: NoSchedule}]
  - {name: a100, num_cpus: 12, num_gpus: 2, accelerator_type: A100, memory_gib: 128, custom: {nvlink: 1}, max_nodes: 2}
tiers:
  - name: small
    class: replicas.fake:FakeTier
    family: fake
    device: cuda
    presets: {fast: {price_usd: 0.001, service_s: 0.1}}
    resources: {num_cpus: 1, num_gpus: 0.5, accelerator_type: L4, memory_gib: 4}
    scaling: {min_replicas: 0, max_replicas: 4}
  - name: medium
    class: replicas.fake:FakeTier
    family: fake
    device: cuda
    presets: {only: {price_usd: 0.01, service_s: 1}}
    resources:
      num_gpus: 1
      label_selector: {ray.io/accelerator-type: L4, ray.io/market-type: spot}
      fallback_selectors:
        - {ray.io/accelerator-type: "in(A10G, A100)"}
    scaling: {max_replicas: 3}
  - name: large
    class: replicas.fake:FakeTier
    family: fake
    device: cuda
    presets: {only: {price_usd: 0.1, service_s: 5}}
    resources: {num_gpus: 2, num_cpus: 4, custom: {nvlink: 1}}
    scaling: {min_replicas: 0, max_replicas: 1}
"""
