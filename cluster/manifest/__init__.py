"""What the ecosystem expects as a description of a cluster, as plain dicts: a Serve config, KubeRay, `ray up`."""
