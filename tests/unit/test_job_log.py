"""The log of a job, in a process of its own as jobs are."""

import subprocess
import sys
import textwrap

import pytest

from ntk_atlas.job_log import cpu_seconds, job_log


def run(body: str, log) -> subprocess.CompletedProcess:
    code = "import gc, logging, warnings\nfrom ntk_atlas.job_log import cpu_seconds, job_log\n"
    code += f"with job_log({str(log)!r}, 'train one'):\n" + textwrap.indent(body, "    ")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_progress_and_warnings_are_in_the_log(tmp_path):
    job = run("logging.info('epoch 3')\nwarnings.warn('slow')\n", tmp_path / "new" / "job.log")
    text = (tmp_path / "new" / "job.log").read_text()
    assert job.returncode == 0
    for said in ("train one: started", "epoch 3", "slow", "train one: done"):
        assert said in text


def test_the_log_has_the_cpu_time_of_the_job_and_of_its_children(tmp_path):
    """Snakemake's record lacks up to half a minute of it."""
    burn = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"
    body = burn + f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\n"
    run(body, tmp_path / "job.log")
    assert 0.8 <= cpu_seconds(tmp_path / "job.log") < 8.0
    run("raise ValueError('no data')\n", tmp_path / "failed.log")
    assert cpu_seconds(tmp_path / "failed.log") is None
    assert cpu_seconds(tmp_path / "none.log") is None


def test_a_failure_names_the_job_and_leaves_its_traceback_in_the_log(tmp_path):
    job = run("raise ValueError('no data')\n", tmp_path / "job.log")
    assert job.returncode == 1
    assert job.stderr == f"train one failed: no data\n(the traceback is in {tmp_path / 'job.log'})\n"
    text = (tmp_path / "job.log").read_text()
    assert "train one: failed" in text
    assert "Traceback" in text


def test_the_garbage_collector_leaves_what_was_imported_and_collects_what_comes_after(tmp_path):
    body = """
    import weakref
    assert gc.get_freeze_count() > 1000 > len(gc.get_objects())
    class Node:
        pass
    node = Node()
    node.itself, seen = node, weakref.ref(node)
    del node
    gc.collect()
    assert seen() is None
    """
    job = run(textwrap.dedent(body), tmp_path / "job.log")
    assert job.returncode == 0, job.stderr


USERS = """
import sys

def build(kind):
    if kind == "assert":
        assert kind == 3
    if kind == "key":
        return {}["depth"]
    if kind == "exit":
        sys.exit(0)
    if kind == "quit":
        quit()
    if kind == "stop":
        raise StopIteration
    if kind == "generator":
        raise GeneratorExit
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "memory":
        raise MemoryError
    if kind == "recursion":
        return build(kind)
    if kind == "value":
        raise ValueError("no such layer")
    if kind == "base":
        raise BaseException("odd")
"""
SAID = {
    "assert": "AssertionError ({}, line 6: assert kind == 3)",
    "key": "KeyError: 'depth' ({}, line 8: return {{}}[\"depth\"])",
    "exit": "your code ended the process ({}, line 10: sys.exit(0)): let it raise an error instead",
    "quit": "your code ended the process ({}, line 12: quit()): let it raise an error instead",
    "stop": "StopIteration ({}, line 14: raise StopIteration)",
    "generator": "GeneratorExit ({}, line 16: raise GeneratorExit)",
    "interrupt": "it was interrupted ({}, line 18: raise KeyboardInterrupt)",
    "memory": "the memory of this machine does not suffice ({}, line 20: raise MemoryError)",
    "recursion": "RecursionError: maximum recursion depth exceeded ({}, line 22: return build(kind))",
    "value": 'ValueError: no such layer ({}, line 24: raise ValueError("no such layer"))',
    "base": 'BaseException: odd ({}, line 26: raise BaseException("odd"))',
}


def test_whatever_ends_a_users_code_is_said_with_its_last_line(tmp_path, capsys):
    file, log = tmp_path / "my_net.py", tmp_path / "job.log"
    file.write_text(USERS)
    names: dict = {}
    exec(compile(USERS, str(file), "exec"), names)
    for kind, said in SAID.items():
        with pytest.raises(SystemExit) as ended, job_log(log, "train one"):
            names["build"](kind)
        expected = said.format(file)
        assert ended.value.code == 1
        assert capsys.readouterr().err == f"train one failed: {expected}\n(the traceback is in {log})\n"
        assert f"train one: failed: {expected}" in log.read_text() and "Traceback" in log.read_text()


def test_an_error_of_this_package_says_its_sentence_and_without_one_where_it_was_raised(tmp_path):
    job = run("from ntk_atlas.jobs.parts.slice import Row\nRow.parse('row')\n", tmp_path / "job.log")
    assert job.stderr.startswith("train one failed: 'row' is not the name of a row (depth-D_width-W_init_scale-S, or")
    job = run("next(iter([]))\n", tmp_path / "job.log")
    assert job.stderr.startswith("train one failed: StopIteration (<string>, line 4)\n")


def test_a_job_reads_only_what_other_jobs_wrote(tmp_path, capsys):
    cube, table, mine = (tmp_path / name for name in ("cube.nc", "table.csv", "mine.csv"))
    mine.write_text("whatever the user likes")
    with job_log(tmp_path / "first.log", "first", [mine], [cube]):
        cube.write_text("numbers")
    with job_log(tmp_path / "second.log", "second", [cube, mine], [table]):
        table.write_text(cube.read_text())
    cube.write_text("nombres")
    with pytest.raises(SystemExit), job_log(tmp_path / "second.log", "second", [mine, cube], [table]):
        table.write_text(cube.read_text())
    assert f"second failed: {cube} is not what its job wrote: it was damaged or changed" in capsys.readouterr().err
    assert table.read_text() == "numbers"
    with job_log(tmp_path / "first.log", "first", [mine], [cube]):
        cube.write_text("nombres")
    with job_log(tmp_path / "second.log", "second", [cube], [table]):
        pass
