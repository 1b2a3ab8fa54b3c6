"""One peer against the loopback endpoint; runs in that peer's own environment, with nothing of dataforge in it.

    /path/to/venv/bin/python benchmarks/teacher_peers.py datatrove http://127.0.0.1:8000/v1 64 3200 FOLDER

The same pictures and questions as teacher_clients.py. Settings are those that let each peer go as fast as it can:
limits out of the way, telemetry and consoles off, checkpoints on (what is compared stores its replies).
"""

import base64
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

MODEL = "tiny-vision"
os.environ |= {
    "TELEMETRY_ENABLED": "false",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "CURATOR_DISABLE_CACHE": "0",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NEMO_TELEMETRY_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OPENAI_API_KEY": "sk-benchmark",
}


def text(number: int) -> str:
    return f"What does the third row of picture {number} say?"


def datatrove(url: str, most: int, calls: int, encoded: list[str], folder: Path) -> int:
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter

    class Rows(PipelineStep):
        def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
            for number in range(calls):
                yield Document(text=text(number), id=str(number))

    async def rollout(document: Any, generate: Any) -> Any:
        picture = {"url": f"data:image/jpeg;base64,{encoded[int(document.id) % len(encoded)]}"}
        content = [{"type": "text", "text": document.text}, {"type": "image_url", "image_url": picture}]
        return await generate({"messages": [{"role": "user", "content": content}], "max_tokens": 64})

    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path=MODEL,
        endpoint_url=url.removesuffix("/v1"),
        max_concurrent_generations=most,
        max_concurrent_documents=most,
    )
    writer = JsonlWriter(str(folder / "out"), output_filename="${rank}_${chunk_index}.jsonl", compression=None)
    runner = InferenceRunner(rollout, config, writer, checkpoints_local_dir=str(folder / "checkpoints"))
    LocalPipelineExecutor([Rows(), runner], logging_dir=str(folder / "logs"), tasks=1).run()
    return sum(len(path.read_text().splitlines()) for path in (folder / "out").glob("*.jsonl"))


def curator(url: str, most: int, calls: int, encoded: list[str], folder: Path) -> int:
    import litellm

    tokenizers = Path(litellm.__file__).parent / "litellm_core_utils" / "tokenizers"
    os.environ |= {"TIKTOKEN_CACHE_DIR": str(tokenizers), "CURATOR_CACHE_DIR": str(folder / "cache")}
    from bespokelabs import curator as library

    class Reader(library.LLM):  # type: ignore[misc,name-defined]
        def prompt(self, row: dict[str, Any]) -> Any:
            picture = encoded[row["number"] % len(encoded)]
            return text(row["number"]), library.types.Image(content=picture, mime_type="image/jpeg")

        def parse(self, row: dict[str, Any], response: str) -> dict[str, Any]:
            return {"number": row["number"], "answer": response}

    limits = {"max_requests_per_minute": 10**7, "max_tokens_per_minute": 2 * 10**9, "max_concurrent_requests": most}
    reader = Reader(
        model_name=MODEL,
        backend="openai",
        backend_params={"base_url": url, "api_key": "sk-benchmark", **limits},
        generation_params={"max_tokens": 64},
    )
    found = reader([{"number": number} for number in range(calls)])
    return len(getattr(found, "dataset", found))


def designer(url: str, most: int, calls: int, encoded: list[str], folder: Path) -> int:
    import pandas as pd
    from data_designer import config as dd
    from data_designer.interface import DataDesigner

    rows = [{"question": text(number), "picture": encoded[number % len(encoded)]} for number in range(calls)]
    seed = folder / "seed.parquet"
    pd.DataFrame(rows).to_parquet(seed)
    provider = dd.ModelProvider(name="here", endpoint=url, provider_type="openai", api_key="sk-benchmark")
    sampling = dd.ChatCompletionInferenceParams(max_parallel_requests=most, max_tokens=64)
    model = dd.ModelConfig(
        alias="m", model=MODEL, provider="here", skip_health_check=True, inference_parameters=sampling
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.LocalFileSeedSource(path=str(seed)))
    context = dd.ImageContext(
        column_name="picture", data_type=dd.ModalityDataType.BASE64, image_format=dd.ImageFormat.JPEG
    )
    builder.add_column(
        dd.LLMTextColumnConfig(name="answer", prompt="{{ question }}", model_alias="m", multi_modal_context=[context])
    )
    made = DataDesigner(artifact_path=str(folder / "artifacts"), model_providers=[provider])
    made.set_run_config(dd.RunConfig(otel_metrics_port=None))
    return len(made.create(builder, num_records=calls).load_dataset())


def distilabel(url: str, most: int, calls: int, encoded: list[str], folder: Path) -> int:
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGenerationWithImage

    rows = [{"instruction": text(number), "image": encoded[number % len(encoded)]} for number in range(calls)]
    with Pipeline("bench", cache_dir=str(folder / "cache")) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=most)
        llm = OpenAILLM(model=MODEL, base_url=url, api_key="sk-benchmark", generation_kwargs={"max_new_tokens": 64})
        load >> TextGenerationWithImage(llm=llm, image_type="base64", input_batch_size=most)
    found = pipeline.run(use_cache=False)
    return len(found["default"]["train"])


PEERS = {"datatrove": datatrove, "curator": curator, "data-designer": designer, "distilabel": distilabel}


def main() -> None:
    name, url, most, calls, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])
    paths = sorted((folder.parent / "pictures").glob("*.jpg"), key=lambda path: int(path.stem))
    encoded = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    began = time.perf_counter()
    rows = PEERS[name](url, most, calls, encoded, folder)
    found = {
        "rows": rows,
        "run_s": time.perf_counter() - began,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
