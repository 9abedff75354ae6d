"""A generator whose images are in the store, for pages that show them."""

from PIL import Image


class StoredSquares:
    """A generator that commits a coloured square."""

    def __init__(self, store):
        self.store = store

    async def edit(self, request):
        return self.store.put_image(Image.new("RGB", (8, 8), (request.seed % 256, 0, 0)))

    async def stats(self):
        return {}
