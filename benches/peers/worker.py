"""One peer in a process of its own, so that its memory and start can be told from the others'.

`worker.py SYSTEM MODEL SIDE THREADS` loads the model, makes one inference and prints a JSON line with both
times; then, for every line `SECONDS` on standard input, it makes inferences for so long and prints a
JSON list of their milliseconds. Within the times: the network, from a float32 picture (LiteRT: int8)
that lies in the peer's memory to the raw heads. At the end it prints its peak memory.

With a fifth argument it makes so many inferences and nothing else: that is for counting (`arm.sh`).
"""

import json
import os
import resource
import sys
import time


def onnxruntime(model, side, threads):
    import onnxruntime
    from network import random_image

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"images": random_image(side)}
    return lambda: session.run(None, feed)


def openvino(model, side, threads):
    import openvino
    from network import random_image

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if model.endswith("fp32.onnx"):
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(random_image(side)))
    return request.infer


def ncnn(model, side, threads):
    import ncnn
    from network import random_image

    network = ncnn.Net()
    network.opt.num_threads = threads
    if len(sys.argv) > 5:
        # What is counted are the precisions that the tables name.
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
        network.opt.use_bf16_storage = False
    if network.load_param(f"{model}.param") or network.load_model(f"{model}.bin"):
        raise SystemExit(f"worker: ncnn cannot load {model}")
    pixels = random_image(side)[0]
    # A Mat does not keep the array that it is made of.
    picture = ncnn.Mat(pixels).clone()

    def run():
        extractor = network.create_extractor()
        extractor.input("images", picture)
        for head in network.output_names():
            status, _ = extractor.extract(head)
            if status:
                raise SystemExit(f"worker: ncnn cannot compute {head}")

    return run


def litert(model, side, threads):
    import numpy
    from ai_edge_litert.interpreter import Interpreter
    from network import random_image

    interpreter = Interpreter(model, num_threads=threads)
    interpreter.allocate_tensors()
    picture = numpy.rint(255 * random_image(side).transpose(0, 2, 3, 1) - 128).astype("int8")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    return interpreter.invoke


def own_memory():
    """Peak of this process since its start: unlike getrusage, exec resets it."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    system, model, side, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    # Libraries that print go to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = lambda value: print(json.dumps(value), file=answers, flush=True)
    import numpy  # noqa: F401  every peer takes it: not part of its load time

    start = time.perf_counter()
    run = {"onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn, "litert": litert}[system](
        model, side, threads)
    loaded = time.perf_counter()
    run()
    if len(sys.argv) > 5:
        for _ in range(int(sys.argv[5]) - 1):
            run()
        return
    answer({"load_ms": 1e3 * (loaded - start), "first_ms": 1e3 * (time.perf_counter() - loaded)})
    for line in sys.stdin:
        times, end = [], time.perf_counter() + float(line)
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
        answer(times)
    answer(own_memory())


if __name__ == "__main__":
    main()
