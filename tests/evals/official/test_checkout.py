import pytest

from evals.official.checkout import filled, string_named, strings_in, text_file, texts_named

SOURCE = '''
raise RuntimeError("this is never run")
A = """
one <<two>>
""".strip()
B = "  b  "
C = f"say {row['x']} and {{braces}}"
D = 4
E = ["one", "two"]
F = {"a": "three", "b": "four"}
G = ["one", D]
def ask(row):
    "A docstring of it."
    return [{"role": "user"}, f"""Judge "{row['Prompt']}" well""", "a b"]
'''


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "judge.py").write_text(SOURCE)
    return tmp_path


def test_strings_are_read_and_not_run(checkout):
    assert string_named(checkout, "judge.py", "A") == "one <<two>>"
    assert string_named(checkout, "judge.py", "B") == "  b  "
    assert string_named(checkout, "judge.py", "C") == "say {row['x']} and {braces}"


def test_texts_of_a_list_and_of_a_dictionary(checkout):
    assert texts_named(checkout, "judge.py", "E") == ["one", "two"]
    assert texts_named(checkout, "judge.py", "F") == ["three", "four"]


def test_texts_of_a_function(checkout):
    assert strings_in(checkout, "judge.py", "ask") == [
        "A docstring of it.",
        "Judge \"{row['Prompt']}\" well",
        "a b",
    ]


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda folder: string_named(folder, "judge.py", "D"), "judge.py assigns no text to D"),
        (lambda folder: string_named(folder, "judge.py", "Z"), "judge.py assigns no text to Z"),
        (lambda folder: texts_named(folder, "judge.py", "A"), "judge.py assigns no texts to A"),
        (lambda folder: texts_named(folder, "judge.py", "G"), "judge.py assigns no texts to G"),
        (lambda folder: strings_in(folder, "judge.py", "tell"), "judge.py has no function tell with texts"),
        (lambda folder: text_file(folder, "no.txt"), "has no no.txt: it is not a checkout of the benchmark"),
        (lambda folder: string_named(folder, "bad.py", "A"), "bad.py is no Python"),
    ],
)
def test_what_is_not_there_is_said(checkout, read, told):
    (checkout / "bad.py").write_text("def (")
    with pytest.raises(ValueError, match=told):
        read(checkout)


def test_each_mark_is_filled_once():
    assert filled("{a} {b} {a}", {"{a}": "{b}", "{b}": "x"}) == "{b} x {b}"
    assert filled("as it is", {}) == "as it is"
