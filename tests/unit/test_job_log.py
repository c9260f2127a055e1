"""The log of a job, in a process of its own as jobs are."""

import subprocess
import sys
import textwrap


def run(body: str, log) -> subprocess.CompletedProcess:
    code = "import gc, logging, warnings\nfrom ntk_atlas.job_log import job_log\n"
    code += f"with job_log({str(log)!r}, 'train one'):\n" + textwrap.indent(body, "    ")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_progress_and_warnings_are_in_the_log(tmp_path):
    job = run("logging.info('epoch 3')\nwarnings.warn('slow')\n", tmp_path / "new" / "job.log")
    text = (tmp_path / "new" / "job.log").read_text()
    assert job.returncode == 0
    for said in ("train one: started", "epoch 3", "slow", "train one: done"):
        assert said in text


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
