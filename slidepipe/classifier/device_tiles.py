"""Tiles decoded on the device that the network computes on, straight from their JPEG streams.

On a CUDA device nvJPEG decodes, through torchvision. It does not interpolate between the colours of tiles that are
stored with fewer of them (chroma subsampling), as libjpeg-turbo does, so its pixels, and the probabilities, differ a
little. Whatever it cannot decode as the CPU does, to `_MEAN_LEVELS`, the CPU decodes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import torch
import torchvision

from slidepipe.classifier.settings import InferenceSettings
from slidepipe.errors import StoreError
from slidepipe.storage.tile_codec import JpegCodec, TileCodec, decode_tile, encoded_tile

_log = logging.getLogger(__name__)

_MEAN_LEVELS = 4
"""Largest mean difference in levels, of 255, between the first tile of a store as decoded on the device and by the CPU.
Colours that are taken for others differ by dozens."""


class DeviceTiles:
    """Decodes the tiles of one store; see `slidepipe.tiles.tile_decoder.TileDecoder`.

    Parameters
    ----------
    device
        Where to decode, and where the pixels stay.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._trusts_device: bool | None = None

    def empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Make memory for pixels.

        Parameters
        ----------
        shape
            Shape of the pixels.

        Returns
        -------
        Tensor
            uint8, on the device.
        """
        return torch.empty(shape, dtype=torch.uint8, device=self._device)

    def decode(self, codec: TileCodec, chunks: Sequence[bytes], tile_px: int) -> Iterator[torch.Tensor]:
        """Decode tiles.

        Parameters
        ----------
        codec
            As the tiles were encoded.
        chunks
            What the store holds of them, at least one.
        tile_px
            Side of a tile.

        Yields
        ------
        Tensor
            Pixels of each tile in order, uint8 RGB of shape (tile_px, tile_px, 3), on the device.

        Raises
        ------
        StoreError
            If a tile is damaged; those before it have been given.
        """
        if self._trusts_device is None:
            self._trusts_device = self._agrees(codec, chunks[0], tile_px)
        decoded: Iterable[torch.Tensor] | None = None
        if self._trusts_device:
            decoded = self._on_device(codec, chunks, tile_px)
        if decoded is None:
            decoded = (self._by_cpu(codec, chunk, tile_px) for chunk in chunks)
        yield from decoded

    def _agrees(self, codec: TileCodec, chunk: bytes, tile_px: int) -> bool:
        expected = self._by_cpu(codec, chunk, tile_px)
        found = self._on_device(codec, [chunk], tile_px)
        if found is None:
            return False
        apart = (found[0].float() - expected.float()).abs().mean().item()
        if apart > _MEAN_LEVELS:
            _log.warning(
                "tiles are decoded by the CPU: decoded on %s they are %.0f levels apart", self._device, apart
            )
        return apart <= _MEAN_LEVELS

    def _by_cpu(self, codec: TileCodec, chunk: bytes, tile_px: int) -> torch.Tensor:
        return torch.from_numpy(decode_tile(codec, chunk, tile_px)).to(self._device)

    def _on_device(
        self, codec: TileCodec, chunks: Sequence[bytes], tile_px: int
    ) -> list[torch.Tensor] | None:
        """Decode JPEG tiles on the device; None where that is not possible."""
        if not isinstance(codec, JpegCodec):
            _log.warning("tiles are decoded by the CPU: they are no JPEG streams")
            return None
        try:
            streams = [_whole_stream(encoded_tile(codec, chunk), codec.tables) for chunk in chunks]
            planes = torchvision.io.decode_jpeg(
                [torch.frombuffer(stream, dtype=torch.uint8) for stream in streams],
                mode=torchvision.io.ImageReadMode.RGB,
                device=self._device,
            )
        except StoreError:
            # The CPU goes through them one by one, and so says which of them is damaged. So below.
            return None
        # torchvision announces that it will do without its decoders one day.
        except (RuntimeError, AttributeError) as error:
            _log.warning("%d tiles are decoded by the CPU, %s cannot: %s", len(chunks), self._device, error)
            return None
        if any(tile.shape != (3, tile_px, tile_px) for tile in planes):
            return None
        return [tile.permute(1, 2, 0) for tile in planes]


def tile_decoder(settings: InferenceSettings, device: torch.device) -> DeviceTiles | None:
    """Choose what decodes the tiles of a store.

    Parameters
    ----------
    settings
        Of inference.
    device
        Where the network computes.

    Returns
    -------
    DeviceTiles or None
        None for the CPU.
    """
    if settings.jpeg_decoder == "cpu":
        return None
    if device.type != "cuda":
        _log.warning("tiles are decoded by the CPU: inference.jpeg_decoder is cuda, the device is %s", device)
        return None
    return DeviceTiles(device)


def _whole_stream(stream: bytes, tables: bytes | None) -> bytearray:
    """Put the tables that tiles share into a stream that has none, both without what marks end and beginning."""
    return bytearray(stream if tables is None else tables[:-2] + stream[2:])
