"""What a training saves: written, verified, read again."""
