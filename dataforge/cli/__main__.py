"""`python -m dataforge.cli`: what `accelerate launch -m dataforge.cli train sft ...` starts on every GPU."""

from dataforge.cli import main

main()
