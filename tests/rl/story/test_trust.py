"""A bundle of a stranger runs nothing and sends no key anywhere unless its user allows it; and takes no files along."""

import pytest

from rl.cli.main import main
from rl.recipe.config import REPO
from rl.recipe.reader import to_yaml
from rl.serve import load_served
from rl.story.bundle import write_bundle
from rl.story.config import BUNDLE_RECIPE, load_story_recipe
from rl.story.trust import load_trusted

SHAPES = REPO / "recipes" / "shapes_story.yaml"


@pytest.fixture
def ran(tmp_path):
    return tmp_path / "ran"


@pytest.fixture
def bundle(tmp_path, ran):
    """A bundle whose planner leaves a mark when it is imported."""
    plans = tmp_path / "plans.py"
    plans.write_text(f"open({str(ran)!r}, 'w')\ndef plan(request, num_images): ...\n")
    recipe = load_story_recipe(SHAPES, [f"planner.fn={plans}:plan", "critic.model=owner/critic"])
    list(write_bundle(recipe, tmp_path / "bundle"))
    return tmp_path / "bundle"


@pytest.mark.parametrize(
    "command",
    [
        lambda bundle: ["generate", "a cat", "--recipe", bundle],
        lambda bundle: ["serve", bundle],
        lambda bundle: ["eval", "stories", bundle],
    ],
)
def test_code_of_a_bundle_is_named_and_not_run(command, bundle, ran, capsys):
    assert main(command(str(bundle))) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        f"interleave: {bundle} is a bundle that would run or ask what it brings: planner.fn={bundle}"
    )
    assert told.endswith("then add --trust-code\n")
    assert told.count("\n") == 1
    assert not ran.exists()


def test_what_is_trusted_or_replaced_by_its_user_is_read(bundle, tmp_path, ran):
    assert load_trusted(bundle, [], trusts_code=True).planner.fn == f"{bundle}/planner.py:plan"
    mine = [f"planner.fn={tmp_path / 'plans.py'}:plan"]
    assert load_served(bundle, mine).planner.fn.startswith(str(tmp_path / "plans.py"))
    assert main(["export", str(bundle), "--out", str(tmp_path / "again")]) == 0  # copied, not run
    assert not ran.exists()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("generator.trust_remote_code=true", "generator.trust_remote_code=True"),
        ("judge={scorer: theirs.score}", "judge.scorer=theirs.score"),
        ("generator.pipeline=theirs.Pipeline", "generator.pipeline=theirs.Pipeline"),
        ("generator={name: '', kind: 'theirs:Painter'}", "generator.kind=theirs:Painter"),
        ("judge={kind: vllm, model: a/b, server: {args: {trust-remote-code: true}}}", "args.trust-remote-code=True"),
        (
            "judge={kind: openai, model: m, scorer: '', base_url: 'http://theirs/v1'}",
            "judge.base_url=http://theirs/v1, with the key in OPENAI_API_KEY",
        ),
        (
            "generator={name: '', kind: images, model: m, server: {command: 'sh -c evil {host} {port}'}}",
            "generator.server.command=sh -c evil {host} {port}",
        ),
        ("ray_address=ray://theirs:10001", "ray_address=ray://theirs:10001"),
        ("store=s3://theirs/store", "store=s3://theirs/store"),
        ("service={host: 0.0.0.0, api_key_env: HOME}", "service.host=0.0.0.0"),
    ],
)
def test_all_that_runs_or_is_asked_is_named(override, named, tmp_path):
    (tmp_path / BUNDLE_RECIPE).write_text(to_yaml(load_story_recipe(SHAPES, [override])))
    with pytest.raises(ValueError, match="is a bundle that would run or ask") as refused:
        load_trusted(tmp_path, [], trusts_code=False)
    assert named in str(refused.value)


def test_a_bundle_of_ours_and_a_recipe_file_are_asked_nothing(tmp_path):
    list(write_bundle(load_story_recipe(SHAPES, ["critic.model=owner/critic"]), tmp_path / "bundle"))
    assert load_trusted(tmp_path / "bundle", [], trusts_code=False).planner.fn == "recipes.shapes.stories.plan"
    for mine in ("ray_address=ray://mine:10001", "service.host=0.0.0.0", "store=s3://mine/store"):
        load_trusted(tmp_path / "bundle", [mine], trusts_code=False)
    (tmp_path / "plans.py").write_text("def plan(request, num_images): ...\n")
    (tmp_path / "mine.yaml").write_text(f"extends: {SHAPES}\nplanner: {{fn: './plans.py:plan'}}\n")
    assert load_trusted(tmp_path / "mine.yaml", [], trusts_code=False).planner.fn == f"{tmp_path}/plans.py:plan"


@pytest.mark.parametrize("path", ["bundle:../secret.txt", "bundle:/etc/passwd", "bundle:link.txt"])
def test_paths_of_a_bundle_lead_nowhere_else(path, bundle, tmp_path):
    (tmp_path / "secret.txt").write_text("my key")
    (bundle / "link.txt").symlink_to(tmp_path / "secret.txt")
    recipe = (bundle / BUNDLE_RECIPE).read_text()
    (bundle / BUNDLE_RECIPE).write_text(recipe.replace("bundle:critic.txt", path))
    with pytest.raises(ValueError, match=rf"{BUNDLE_RECIPE}: {path} leads out of the bundle"):
        load_story_recipe(bundle)


def test_a_link_that_leaves_a_models_folder_is_not_followed(tmp_path):
    critic = tmp_path / "critic"
    critic.mkdir()
    (tmp_path / "key").write_text("my key")
    (critic / "config.json").symlink_to(tmp_path / "key")
    recipe = load_story_recipe(SHAPES, [f"critic.model={critic}"])
    with pytest.raises(ValueError, match=rf"{critic}/config.json is a link to {tmp_path}/key; .*: copy it in"):
        write_bundle(recipe, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["critic", "key"]


def test_the_hubs_cache_links_to_its_own_files(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    (tmp_path / "models--a--b" / "blobs" / "5678").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/5678")
    list(write_bundle(load_story_recipe(SHAPES, [f"critic.model={snapshot}"]), tmp_path / "bundle"))
    copied = tmp_path / "bundle" / "critic" / "config.json"
    assert copied.read_text() == "{}"
    assert not copied.is_symlink()
