"""Long runs with bounded time, each behind a make target; not part of `make test`."""
