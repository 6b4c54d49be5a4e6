"""From a task to finished replicates: the loop, the laws it checks, sums in a fixed order, stores and executors."""
