"""How much memory the parts around a flow take beside their weights: reading prompts, and pixels to latents and back.

Counted are tensors that exist at the same time where a part is widest; what a library takes as a workspace is not.
"""

from __future__ import annotations

from dataclasses import dataclass

_DECODED_COPIES = 5  # of all pixels of a batch as numbers, behind the decoder: one by one, together, scaled, rounded
_ENCODED_COPIES = 3  # as above, before the encoder: as they came, scaled
_BACK_FROM_WIDER = 3  # tensors of the wider level when a decoder's layer narrows: what came in, its norm, activated
_WITHIN_LAYER = 5  # of a level's own width: the residual, what came in, its norm, activated, the convolution's result


@dataclass(frozen=True, slots=True)
class PictureFootprint:
    """Of an AutoencoderKL, which takes pictures one by one. `widths`: channels at each level, full resolution first."""

    widths: tuple[int, ...]
    item_bytes: int

    def decoding_bytes(self, rows: int, height_px: int, width_px: int) -> int:
        """Peak of latents -> `rows` pictures."""
        pixels = height_px * width_px
        wider = (*self.widths[1:], self.widths[-1])
        widest = max(
            pixels // 4**level * max(_BACK_FROM_WIDER * wider[level], _WITHIN_LAYER * width)
            for level, width in enumerate(self.widths)
        )
        return self._peak(widest, rows * pixels, _DECODED_COPIES)

    def encoding_bytes(self, rows: int, height_px: int, width_px: int) -> int:
        """Peak of `rows` pictures -> latents."""
        pixels = height_px * width_px
        widest = max(pixels // 4**level * _WITHIN_LAYER * width for level, width in enumerate(self.widths))
        return self._peak(widest, rows * pixels, _ENCODED_COPIES)

    def _peak(self, widest: int, pixels: int, copies: int) -> int:
        """Of the model at one picture beside the pixels and latents of all, or of copies of the pixels alone."""
        pictures_bytes = pixels * 3 * 4
        return max(widest * self.item_bytes + pictures_bytes * 9 // 8, copies * pictures_bytes)


@dataclass(frozen=True, slots=True)
class TextFootprint:
    """Of a T5 encoder that reads prompts one by one, each in a window of so many tokens."""

    window: int
    width: int
    heads: int
    head_width: int
    feed_forward: int
    item_bytes: int

    def reading_bytes(self, rows: int) -> int:
        """Peak of `rows` prompts -> states, which are float32."""
        wide = max(4, self.item_bytes)  # norms and the softmax
        scores = self.heads * self.window**2 * wide
        state = self.window * self.width * wide
        attention = 3 * scores + 3 * state + 3 * self.window * self.heads * self.head_width * self.item_bytes
        feed_forward = scores + 4 * state + 4 * self.window * self.feed_forward * self.item_bytes
        return max(attention, feed_forward) + 2 * rows * self.window * self.width * 4


@dataclass(frozen=True, slots=True)
class PartsFootprint:
    """Of both; None: a part that is not there, or too small to count."""

    text: TextFootprint | None = None
    pictures: PictureFootprint | None = None

    def reading_bytes(self, rows: int) -> int:
        """Of prompts."""
        return 0 if self.text is None else self.text.reading_bytes(rows)

    def decoding_bytes(self, rows: int, size_px: tuple[int, int]) -> int:
        """Of pictures of (height, width)."""
        return 0 if self.pictures is None else self.pictures.decoding_bytes(rows, *size_px)

    def encoding_bytes(self, rows: int, size_px: tuple[int, int]) -> int:
        """Of pictures of (height, width)."""
        return 0 if self.pictures is None else self.pictures.encoding_bytes(rows, *size_px)
