"""What `benchmarks/chaos` looks for in a store would be seen."""

from actors.store.files import temporary_name
from actors.store.store import Store
from benchmarks.chaos.scene import Found, check_store, noise


def test_a_torn_image_would_be_seen(tmp_path):
    store, found = Store(tmp_path), Found("images")
    whole, torn = (store.image_path(store.put_image(noise(number))) for number in (1, 2))
    torn.write_bytes(torn.read_bytes()[:1000])
    (whole.parent / temporary_name()).write_bytes(b"half")
    check_store(tmp_path, found)
    assert [loss.split()[1] for loss in found.losses[:1]] == [str(torn)]
    assert "was not cleaned" in found.losses[1]  # its writer is alive: this process
