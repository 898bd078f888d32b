"""What `configure` plans: machines, strategy, DeepSpeed config."""
