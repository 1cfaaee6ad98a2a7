"""Entry point of ``python -m rom_builder``."""

from rom_builder.cli import run

if __name__ == "__main__":
    run()
