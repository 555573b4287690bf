"""How long a person waits: prints one JSON line. Run by `cargo xtask bench kernel`."""

import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))


ARRAY = "let a = nuna::Array::from_slice(&[4], &[1.0, 2.0, 3.0, 4.0])?;"
EXPRESSION = "let b{i} = (&a - 2.0) * {i}.5 + &a / 4.0;\nb{i}.shape().to_vec()"
CLOSURES = """let options = nuna::MapBlocks {{ name: "both".into(), dtype: nuna::DType::F64, chunks: None }};
let c{i} = a.map_blocks(options.clone(), |block| {{
    let input = block.inputs.first().ok_or("no input")?;
    Ok(nuna::Chunk::from_slice(input.shape(), &input.to_vec::<f64>().iter().map(|v| v + {i}.0).collect::<Vec<_>>()))
}})?;
let d{i} = c{i}.map_blocks(options, |block| {{
    let input = block.inputs.first().ok_or("no input")?;
    Ok(nuna::Chunk::from_slice(input.shape(), &input.to_vec::<f64>().iter().map(|v| v * 2.0).collect::<Vec<_>>()))
}})?;"""


def median(seconds) -> float:
    return round(statistics.median(seconds), 4)


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    total = 0
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            own = int(folder.name)
        except (OSError, IndexError):
            continue
        if own == pid or int(fields[1]) == pid:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return round(total / 1e6, 1)


def main() -> None:
    data = tempfile.mkdtemp()
    name = sys.argv[1] if len(sys.argv) > 1 else "nuna"
    if name == "nuna":
        from conftest import write_kernelspec
        write_kernelspec(pathlib.Path(data))
        os.environ["JUPYTER_PATH"] = data
    from jupyter_client.manager import KernelManager
    trivial, binding = ("1 + 1", "let v = nuna::grid([1.0, 2.0], [3.0]);") if name == "nuna" else ("1 + 1", "v = [1.0, 2.0]")
    manager = KernelManager(kernel_name=name)
    started = time.perf_counter()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    ready = time.perf_counter() - started

    def cell(code: str) -> float:
        begun = time.perf_counter()
        reply = client.execute_interactive(code, timeout=120, output_hook=lambda _: None, allow_stdin=False)
        assert reply["content"]["status"] == "ok", reply["content"]
        return time.perf_counter() - begun

    first = cell(trivial)
    library = cell(binding)
    times = sorted(cell(trivial) for _ in range(20))
    bindings = sorted(cell(f"let n{i} = {i} + 1;" if name == "nuna" else f"n{i} = {i} + 1") for i in range(10))
    library_cells = {}
    if name == "nuna":
        assert cell(ARRAY) > 0
        library_cells["array_expression_median_s"] = median(cell(EXPRESSION.format(i=i)) for i in range(7))
        library_cells["two_shipped_closures_median_s"] = median(cell(CLOSURES.format(i=i)) for i in range(5))
        library_cells["thirty_statements_s"] = round(cell("\n".join(f"let s{i} = {i} * 2;" for i in range(30))), 3)
    memory = rss_mb(manager.provisioner.process.pid)
    lines = cell('for i in 0..20_000 { println!("line {i}"); }' if name == "nuna" else "for i in range(20000): print('line', i)")
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    print(json.dumps({
        "kernel": name, "ready_s": round(ready, 3), "first_cell_s": round(first, 3),
        "first_library_let_s": round(library, 3), "trivial_median_s": round(statistics.median(times), 4),
        "trivial_p95_s": round(times[18], 4), "let_median_s": round(statistics.median(bindings), 4), **library_cells, "lines_20000_s": round(lines, 3), "rss_mb": memory,
    }))


if __name__ == "__main__":
    main()
