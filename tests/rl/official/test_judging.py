from PIL import Image

from actors.store.store import Store
from evals.official.benchmark import Picture, Question
from rl.official.judging import rendered


def test_a_question_is_a_text_with_a_mark_for_each_picture_and_texts_are_parted(tmp_path):
    store = Store(tmp_path)
    refs = [store.put_image(Image.new("RGB", size)) for size in ((4, 4), (8, 6))]
    parts = ("Asked:", "a <image>cat", Picture(refs[0]), "Made:", Picture(refs[1], max_side=4), Picture(refs[0]))
    shown = rendered(Question("whole", parts, system="Look."), store)
    assert shown.text == "Asked:\n\na cat<image>Made:<image><image>"
    assert [store.get_image(ref).size for ref in shown.images] == [(4, 4), (4, 3), (4, 4)]
    assert shown.system == "Look."
