"""What people write in cells, and what a failing one leaves behind."""

import pytest

# What a failure keeps.

FAILURES = {
    "question_mark": ('let n: i32 = "x".parse()?;', "invalid digit"),
    "panic": ('let n: i32 = panic!("on purpose");', "on purpose"),
    "index": ("let n = made[7];", "out of bounds"),
    "statement": ('Err::<(), _>("no luck")?;', "no luck"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_variables_made_before_a_failure_are_kept(cells, kind):
    statement, words = FAILURES[kind]
    cells.run("let earlier = String::from(\"before\");")
    message = cells.fails(f"let made = vec![1, 2, 3];\nlet (a, mut b) = (earlier.len(), 2.5);\n{statement}\nlet never = 1;")
    assert words in message and f"In [{cells.number}]:3:" in message
    assert cells.value("b += 1.0;\n(made, a, b, earlier)") == '([1, 2, 3], 6, 3.5, "before")'
    assert "failed before it made `never`" in cells.fails("never")


def test_what_a_statement_took_before_the_failure_is_gone_and_the_rest_is_kept(cells):
    cells.run("let given = vec![1]; let held = vec![2];")
    cells.fails('drop(given);\nlet copy = held.clone();\nlet n: i32 = "x".parse()?;\ndrop(held);')
    assert cells.value("(held, copy)") == "([2], [2])"
    message = cells.fails("given.len()")
    assert "`given` was moved in In [" in message and "given.clone()" in message


def test_shadowing_is_undone_by_no_failure(cells):
    cells.run("let x = 1;")
    cells.fails('let x = "text";\nlet x: f64 = "y".parse()?;')
    assert cells.value("x") == '"text"'
    cells.fails('let y: i32 = "y".parse()?;\nlet x = vec![1];')
    assert cells.value("x") == '"text"'


def test_a_compile_error_loses_nothing(cells):
    cells.run("let kept = vec![1, 2];")
    cells.fails("let gone = kept.len();\ndrop(kept);\nlet b: i32 = \"text\";")
    assert cells.value("kept") == "[1, 2]"
    assert "cannot find value" in cells.fails("gone")


def test_borrows_within_a_cell_are_fine_and_do_not_stop_what_is_kept(cells):
    text = 'let v = vec![1.5, 2.5];\nlet it = v.iter();\nlet total: f64 = it.sum();\nlet first = &v[0];\nlet twice = first * 2.0;\npanic!("late");'
    assert "late" in cells.fails(text)
    assert cells.value("(v.len(), total, twice)") == "(2, 4.0, 3.0)"
    assert "borrows from another variable" in cells.fails("first")


def test_what_is_borrowed_to_the_end_of_a_cell_is_kept(cells):
    ran = cells.run("let shared = std::cell::RefCell::new(vec![1]);\nlet guard = shared.borrow();\nlet n = guard.len();")
    assert ran.ok, ran.failure
    assert cells.value("shared.borrow_mut().push(n as i32);\nshared.borrow().len()") == "2"


def test_only_the_cells_own_mistakes_are_shown(cells):
    message = cells.fails("let a = vec![1];\nlet b = vec![2];\ndrop(a);\nlet c = b;\nb.len()")
    assert message.count("error[") == 1 and "borrow of moved value: `b`" in message
    assert "failed before it made `c`" in cells.fails("c")


def test_a_borrow_that_is_all_a_cell_makes_is_explained(cells):
    cells.run("let v = vec![1, 2];")
    assert "`first`" in cells.fails("let first = &v[0];") and cells.value("v.len()") == "2"


def test_return_ends_the_cell(cells):
    assert cells.run('let n = 3;\nif n == 3 { return Ok(()) }\npanic!("not reached");').ok


def test_await_keeps_what_was_made_before_a_failure(cells):
    cells.fails('let seven = async { 7 }.await;\nlet eight = async { seven + 1 }.await;\nassert_eq!(eight, 9, "not nine");')
    assert cells.value("(seven, eight)") == "(7, 8)"


def test_any_error_goes_through_a_question_mark(cells):
    cells.run('#[derive(Debug)]\nenum Trouble { Deep(i32) }\nimpl std::fmt::Display for Trouble { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, "too deep: {self:?}") } }\nimpl std::error::Error for Trouble {}')
    assert "too deep: Deep(3)" in cells.fails("Err::<(), Trouble>(Trouble::Deep(3))?")
    assert "own words" in cells.fails('Err::<(), String>("own words".to_owned())?')
    assert "boxed" in cells.fails('fn f() -> Result<i32, Box<dyn std::error::Error>> { Err("boxed".into()) }\nf()?')
    assert "No such file" in cells.fails('std::fs::read("/nonexistent")?;')


def test_an_error_that_says_nothing_is_explained(cells):
    message = cells.fails("struct Mute;\nErr::<(), Mute>(Mute)?;")
    assert "Mute" in message and "map_err" in message


def test_large_arrays_fit_on_the_stack(cells):
    cells.run("let grid = [1.0f64; 2_000_000];\nlet n = grid.len();")
    assert cells.value("(grid[1_999_999], n)") == "(1.0, 2000000)"


# Where things are.

def test_errors_name_the_cells_own_lines(cells):
    message = cells.fails("let a = 1;\n\nuse std::collections::NoSuchThing;")
    assert f"In [{cells.number}]:3:" in message and "NoSuchThing" in message
    message = cells.fails("let a = 1;\nfn f() -> i32 {\n    \"text\"\n}")
    assert f"In [{cells.number}]:3:5" in message
    message = cells.fails("let a = 1;\nprintln!(\"{} {}\", a);")
    assert f"In [{cells.number}]:2:" in message
    message = cells.fails("macro_rules! double { ($x:expr) => { $x * 2 + undefined } }\nlet a = 1;\ndouble!(a)")
    assert f"In [{cells.number}]:3:" in message and "undefined" in message


def test_a_panic_in_an_earlier_cells_function_is_in_that_cell(cells):
    cells.run("fn half(n: u32) -> u32 {\n    assert!(n % 2 == 0, \"{n} is odd\");\n    n / 2\n}")
    made = cells.number
    assert f"In [{made}]:2:5" in cells.fails("half(3)")


def test_a_panic_inside_the_library_points_to_the_statement(cells):
    message = cells.fails('let x = 1;\nlet s: Option<i32> = None;\nstd::thread::Builder::new().name("x\\0".into()).spawn(|| ());')
    assert f"In [{cells.number}]:3:" in message and "/rustc/" not in message


def test_warnings_are_shown_once(cells):
    text = "fn f(n: i32) -> i32 {\n    let unused_one = n;\n    n\n}"
    first = cells.run(text)
    assert first.printed("stderr").count("unused variable") == 1 and f"In [{cells.number}]:2:" in first.printed("stderr")
    assert cells.run(text).printed("stderr") == ""


# Items that grow and change.

def test_an_impl_may_come_later_than_its_type(cells):
    cells.run("#[derive(Clone)]\nstruct P { x: f64 }\nlet p = P { x: 2.0 };")
    cells.run("impl P { fn twice(&self) -> f64 { self.x * 2.0 } }")
    assert cells.value("p.twice()") == "4.0"
    cells.run("trait Area { fn area(&self) -> f64; }")
    cells.run("impl Area for P { fn area(&self) -> f64 { self.x * self.x } }")
    assert cells.value("(p.area(), p.twice())") == "(4.0, 4.0)"


def test_a_struct_defined_anew_says_what_is_old(cells):
    cells.run("struct Q { x: f64 }\nlet q = Q { x: 1.0 };")
    assert cells.run("struct Q { x: f64, y: f64 }").ok
    assert cells.value("let r = Q { x: 1.0, y: 2.0 };\nr.x + r.y") == "3.0"
    assert "defined `Q` anew" in cells.fails("q.y")


def test_a_function_defined_anew_reaches_its_callers(cells):
    cells.run("fn inner() -> i32 { 1 }")
    cells.run("fn outer() -> i32 { inner() * 10 }")
    assert cells.value("outer()") == "10"
    cells.run("fn inner() -> i32 { 2 }")
    assert cells.value("outer()") == "20"


def test_uses_that_clash_take_each_others_place(cells):
    cells.run("use std::fmt::Result;")
    cells.run("use std::io::Result;")
    assert cells.value("let r: Result<i32> = Ok(1);\nr.is_ok()") == "true"
    cells.run("mod a { pub fn f() -> i32 { 1 } }\nmod b { pub fn f() -> i32 { 2 } }")
    cells.run("use a::f;")
    cells.run("use b::f;")
    assert cells.value("f()") == "2"
    cells.run("fn f() -> i32 { 3 }")
    assert cells.value("f()") == "3"


def test_generics_macros_modules_and_constants_last(cells):
    cells.run("const N: usize = 4;\nmacro_rules! sq { ($e:expr) => { $e * $e } }\nmod geometry { pub fn twice(n: usize) -> usize { n * 2 } }\nfn largest<T: PartialOrd + Copy>(v: &[T]) -> T { let mut m = v[0]; for &x in v { if x > m { m = x } } m }")
    assert cells.value("(sq!(N), geometry::twice(N), largest(&[1.5, 0.5]))") == "(16, 8, 1.5)"


# Closures.

def test_closures_capture_variables_of_earlier_cells(cells):
    cells.run("let factor = 3.0; let names = vec![\"a\".to_owned()];")
    assert cells.value("[1.0, 2.0].iter().map(|x| x * factor).sum::<f64>()") == "9.0"
    cells.run("let f: Box<dyn Fn(f64) -> f64> = Box::new(move |x| x * factor);")
    assert cells.value("f(2.0)") == "6.0"
    assert cells.value("let upper = |n: &String| n.to_uppercase();\nnames.iter().map(upper).collect::<Vec<_>>()") == '["A"]'
    assert "closure" in cells.fails("upper(&names[0])") and cells.value("names.len()") == "1"


def test_a_type_that_cannot_be_written_is_explained(cells):
    assert "Box<dyn Fn" in cells.fails("let f = |x: i32| x + 1;")
    assert ".collect" in cells.fails("let it = (0..3).map(|x| x + 1);")
    assert "let v: Vec<f64>" in cells.fails("let v = Vec::new();")


def test_the_type_of_a_variable_may_be_settled_later_in_the_cell(cells):
    assert cells.value("let mut acc = Vec::new();\nfor i in 0..3u8 { acc.push(i); }\nlet n = acc.len();\nacc") == "[0, 1, 2]"
    assert cells.value("acc.len() + n") == "6"


# Commands.

def test_commands_do_what_help_says(cells):
    words = [line.split()[0] for line in cells.value(":help").splitlines() if line.startswith(":")]
    assert {":help", ":vars", ":type", ":opt", ":timing", ":clear"} <= set(words)
    cells.run("let grid = vec![1.0, 2.0]; let name = \"x\";")
    assert cells.value(":vars") == "grid: std::vec::Vec<f64>\nname: &str"
    assert cells.value(":type grid") == "std::vec::Vec<f64>"
    assert "no type of `nothing`" in cells.fails(":type nothing")
    assert "on" in cells.value(":timing")
    assert "compiled in" in cells.run("1 + 1").printed("stderr")
    assert "off" in cells.value(":timing")
    assert cells.run("1 + 1").printed("stderr") == ""
    assert "level 3" in cells.value(":opt 3") and cells.value("2 + 2") == "4"
    assert "0, 1, 2 or 3" in cells.fails(":opt 9")
    assert cells.run(":opt").ok
    assert "no command `:nonsense`" in cells.fails(":nonsense")
    assert cells.run(":clear").ok and cells.value(":vars") == ""
    assert "cannot find value `grid`" in cells.fails("grid")


def test_a_type_with_an_evcxr_display_shows_itself(cells):
    cells.run('''struct Swatch(&'static str);
impl Swatch { fn evcxr_display(&self) { println!("EVCXR_BEGIN_CONTENT text/html\\n<i>{}</i>\\nEVCXR_END_CONTENT", self.0); } }''')
    ran = cells.run('Swatch("red")')
    assert [c["data"] for _, c in ran.outputs if "data" in c] == [{"text/html": "<i>red</i>"}]


def test_a_result_whose_type_is_known_late_is_shown(cells):
    assert cells.value("let late = |x| x + 1; late(2)") == "3"


def test_a_mutable_borrow_ends_with_its_last_use(cells):
    code = "let mut list = vec![3, 1, 2];\nlet smallest = list.iter_mut().min().unwrap();\n*smallest = 10;\nlist"
    assert cells.value(code) == "[3, 10, 2]"
    assert cells.value("list.len()") == "3"


def test_functions_of_other_languages_are_there_for_later_cells(cells):
    assert cells.run('unsafe extern "C" { fn labs(x: i64) -> i64; }').ok
    assert cells.value("unsafe { labs(-4) }") == "4"


def test_a_test_function_is_called_like_any_other(cells):
    assert cells.run("#[test]\nfn adds_up() { assert_eq!(1 + 1, 3); }").ok
    assert "left: 2" in cells.fails("adds_up()")


def test_inner_attributes_hold_for_later_cells(cells):
    assert cells.run("#![deny(unused_must_use)]\nfn fallible() -> Result<u8, String> { Ok(1) }").ok
    assert "must be used" in cells.fails("fallible();")
