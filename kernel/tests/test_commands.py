"""`:` commands, `%` and `!` lines, and where they may stand."""


def test_commands_stand_before_between_and_behind_code(cells):
    ran = cells.run(":opt 1\n// words\nlet x = 20;\n:type x\nlet y = x + 1;\n!echo from the shell\nx + y")
    assert ran.ok and ran.result == "41", ran.failure
    printed = ran.printed("stdout")
    assert "level 1" in printed and printed.index("i32") < printed.index("from the shell")
    assert cells.run(":opt").ok
    assert cells.value("x\n:vars") == "x: i32\ny: i32"


def test_a_failure_behind_commands_is_on_its_own_line(cells):
    message = cells.fails(":opt\n\nlet a = 1;\nlet b: i32 = \"text\";")
    assert f"In [{cells.number}]:4:" in message
    message = cells.fails("let a = 1;\n!echo\nlet c = 2;\npanic!(\"late\");")
    assert f"In [{cells.number}]:4:" in message and cells.value("a + c") == "3"


def test_a_command_that_fails_stops_the_cell(cells):
    assert "did you mean `:vars`" in cells.fails(":var\nlet never = 1;")
    assert "cannot find value `never`" in cells.fails("never")


def test_a_not_stays_a_not(cells):
    cells.run("let flag = true; fn odd(n: i32) -> bool { n % 2 == 1 }")
    assert cells.value("!flag") == "false"
    assert cells.value("!odd(2)") == "true"
    assert cells.value("!matches!(1, 2)") == "true"


def test_a_string_may_look_like_a_command(cells):
    assert cells.value('let s = "\n:vars\n!ls\n%time x\n";\ns.len()') == "19"


def test_the_shell_runs_where_cells_run(cells, tmp_path):
    (tmp_path / "a file").write_text("x\n")
    assert cells.value(f":cd {tmp_path}") == str(tmp_path)
    assert cells.run("!ls").printed("stdout") == "a file\n"
    assert cells.value("%pwd") == str(tmp_path)
    assert cells.value('std::fs::read_to_string("a file")?') == '"x\\n"'
    assert "cannot change to /nonexistent" in cells.fails(":cd /nonexistent")
    cells.run("%cd ~")
    assert cells.value(":pwd") != str(tmp_path)


def test_a_shell_that_fails_says_so_and_stops_nothing(cells):
    ran = cells.run("!echo wrong >&2; exit 3\nlet after = 1;")
    assert ran.ok and ran.printed("stderr") == "wrong\nexit code 3\n"
    assert cells.value("after") == "1"
    assert "exit code 4" in cells.fails("%%bash\ntrue\nexit 4")
    assert cells.run("%%bash\nfor i in 1 2; do\n  echo $i\ndone").printed("stdout") == "1\n2\n"


def test_the_environment_is_the_cells(cells):
    assert cells.run(':env NUNA_TEST_WORD="two words"').ok
    assert cells.value('std::env::var("NUNA_TEST_WORD")?') == '"two words"'
    assert cells.run("!echo $NUNA_TEST_WORD").printed("stdout") == "two words\n"
    assert cells.value(":env NUNA_TEST_WORD") == "two words"
    assert "NUNA_TEST_WORD=two words" in cells.value(":env")
    cells.run(":env NUNA_TEST_TOKEN=swordfish-7f3a")
    assert "swordfish-7f3a" not in cells.value(":env") and "NUNA_TEST_TOKEN=***" in cells.value(":env")
    cells.run("%env NUNA_TEST_OTHER 5")
    assert cells.value("%env NUNA_TEST_OTHER") == "5"
    cells.run(":env -u NUNA_TEST_WORD")
    assert "no environment variable NUNA_TEST_WORD" in cells.fails(":env NUNA_TEST_WORD")
    assert "no name of a variable" in cells.fails(":env =3")


def test_environment_and_folder_outlive_the_process_that_runs_cells(cells, tmp_path):
    cells.run(f":env NUNA_TEST_KEPT=yes\n:cd {tmp_path}")
    assert "exit code 7" in cells.fails("std::process::exit(7)")
    assert cells.value('std::env::var("NUNA_TEST_KEPT")?') == '"yes"'
    assert cells.value(":pwd") == str(tmp_path)
    cells.run(":cd")


def test_code_is_timed(cells):
    ran = cells.run("let n = 3;\n%time n + 1")
    assert ran.result == "4" and "Wall time:" in ran.printed("stdout") and "CPU times:" in ran.printed("stdout")
    ran = cells.run("%%time\nlet m = n + 1;\nm * 2")
    assert ran.result == "8" and "Wall time:" in ran.printed("stdout")
    assert cells.value("m") == "4"
    assert "per loop" in cells.value("%timeit (0..100).map(|x| x * n).sum::<i32>()")
    assert "7 runs" in cells.value("%%timeit\nlet k = n + 1;\nk * 2")
    assert cells.value("n") == "3"


def test_names_are_explained(cells):
    cells.run("let grid = vec![1.0];\n/// Twice.\nfn twice(x: f64) -> f64 { x * 2.0 }\nlet fine: Result<i32, String> = Ok(4);")
    made = cells.number
    assert cells.value("grid?") == "grid: std::vec::Vec<f64>"
    assert "x * 2.0" in cells.value("twice?") and f"In [{made}]" in cells.value("twice?")
    # As a whole cell, a question mark in front opens the pager; behind code it is answered as text.
    assert "Vec<f64>" in cells.run("?grid").reply["payload"][0]["data"]["text/plain"]
    assert cells.value("let more = 1;\n?grid") == "grid: std::vec::Vec<f64>"
    assert cells.value("%who").split() == ["fine", "grid", "more"]
    assert cells.value("fine?") == "4"
    assert "no cell has defined `nothing`" in cells.fails("?nothing")


def test_a_compiler_error_is_explained(cells):
    cells.fails('let x: i32 = "text";')
    assert "E0308" in cells.value(":last_error_json")
    assert "mismatched" in cells.value(":explain") or "type" in cells.value(":explain")
    assert "moved" in cells.value(":explain E0382")
    assert "no explanation of E9999" in cells.fails(":explain E9999")


def test_what_other_kernels_have_is_answered(cells):
    for command in [":preserve_vars_on_panic 1", ":sccache 1", ":linker lld", ":types", ":efmt", ":fmt {:?}", ":toolchain"]:
        assert cells.value(command), command
    assert "Kernel menu" in cells.fails(":quit")
    assert ".plot()" in cells.fails("%matplotlib inline")
    assert ":dep" in cells.fails("%pip install numpy")
    assert "did you mean `%timeit`" in cells.fails("%timeti 1 + 1")
    assert cells.run("%%html\n<b>bold</b>").outputs[-2][1]["data"]["text/html"] == "<b>bold</b>"


def test_an_interrupt_stops_a_shell_and_keeps_variables(cells, tmp_path):
    cells.run("let kept = 5;")
    begun = tmp_path / "begun"
    number = cells.client.execute(f"!touch {begun}; sleep 600", allow_stdin=False)
    while not begun.exists():
        assert cells.client.is_alive()
    cells.manager.interrupt_kernel()
    reply = cells.client.get_shell_msg(timeout=30)
    assert reply["parent_header"]["msg_id"] == number and reply["content"]["ename"] == "Interrupted"
    assert cells.value("kept") == "5"
