"""Serve the offline teacher alone, as an OpenAI-compatible API on loopback."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--port", type=int, default=8765, help="0 takes any free port (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted; the first line printed names the URL."""
    from belle.api.teacher import server

    server.run(port=args.port)
