"""The command line of a judge's vLLM server."""

from actors.config import ServerConfig
from actors.judge.vllm_server import command_line


def test_the_command_line_is_ours_with_the_recipes_on_top():
    args = {"gpu-memory-utilization": 0.4, "dtype": "float16", "seed": None, "enforce_eager": True}
    config = ServerConfig(gpus=2, max_model_len=4096, args=args)
    line = command_line("owner/vlm", config, host="10.0.0.1", port=8123)

    def value(flag):
        return line[line.index(flag) + 1]

    assert (value("--model"), value("--host"), value("--port")) == ("owner/vlm", "10.0.0.1", "8123")
    assert (value("--tensor-parallel-size"), value("--max-model-len")) == ("2", "4096")
    assert (value("--dtype"), value("--gpu-memory-utilization")) == ("float16", "0.4")
    assert ("--enforce-eager" in line, "--seed" in line) == (True, False)
    assert '{"image": 3, "video": 0}' in line
    assert "--tensor-parallel-size" not in command_line("m", ServerConfig(gpus=0.5), host="h", port=1)
