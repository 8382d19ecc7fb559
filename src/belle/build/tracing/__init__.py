"""What a command truly touches, for ``belle verify``.

- strace: files and connections, from the kernel's calls
- recorder: environment variables read from Python; loaded into every process of a stage
- getenv: environment variables read from C
"""
