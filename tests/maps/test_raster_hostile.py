"""Files that would make GDAL fetch, wander about the disk, or fill the memory."""

from __future__ import annotations

import socket
import sqlite3
import struct
import threading
import zipfile
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.transform import Affine

from dmnil_maps.raster import open_imagery
from edge_runtime.contract.errors import MapError
from tests.maps.conftest import Ground, write_geotiff, write_ground

UTM = Affine(1, 0, 5e5, 0, -1, 5e6)
VRT = """<VRTDataset rasterXSize="520" rasterYSize="420">
<SRS>EPSG:32632</SRS><GeoTransform>465000,1,0,5247000,0,-1</GeoTransform>
<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{}<SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""
NAMED = '<SourceFilename relativeToVRT="{}">{}</SourceFilename>'
WMS = "<GDAL_WMS><Service name='TMS'><ServerUrl>http://{}/</ServerUrl></Service></GDAL_WMS>"


def refuse(path):
    with pytest.raises(MapError) as caught, open_imagery(path) as imagery:
        imagery.read(-100.0, 100.0, (1.0, 1.0), 200, 200)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def server():
    """Where anything that is asked for over the network would arrive: an address, and what did."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()
        listening.settimeout(0.05)

        def serve():
            while not stop.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                asked.append(connection)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", asked
        stop.set()
        thread.join()


def write_vrt(folder, source):
    folder.mkdir(exist_ok=True)
    path = folder / "hostile.vrt"
    path.write_text(VRT.format(source))
    return path


@pytest.mark.parametrize(
    "source",
    [
        NAMED.format(0, "/vsicurl/http://{}/a.tif"),
        NAMED.format(1, "/vsicurl/http://{}/a.tif"),
        NAMED.format(0, "http://{}/a.tif"),
        NAMED.format(0, "/VSICURL/http://{}/a.tif"),
        NAMED.format(0, "WMS:http://{}/?"),
        NAMED.format(0, WMS.replace("<", "&lt;")),
        "<SimpleSource SourceFilename='/vsicurl/http://{}/a.tif'/>",
        "<sourcefilename>/vsicurl/http://{}/a.tif</sourcefilename>",
        "<SourceFilename>utm.tif<!-- -->/vsicurl/http://{}/a.tif</SourceFilename>",
        NAMED.format(1, "map.xml"),
    ],
)
def test_a_vrt_never_reaches_the_network(tmp_path, server, source):
    address, asked = server
    path = write_vrt(tmp_path, source.format(address))
    write_ground(tmp_path / "utm.tif", Ground(), "EPSG:32632")
    (tmp_path / "map.xml").write_text(WMS.format(address))
    refuse(path)
    assert not asked


@pytest.mark.parametrize("name", ["/vsicurl/http://{}/a.tif", "WMS:http://{}/?"])
def test_gdal_itself_is_kept_from_the_network_while_imagery_is_open(
    tmp_path, server, name, monkeypatch
):
    address, asked = server
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    path = write_ground(tmp_path / "utm.tif", Ground(), "EPSG:32632")
    with open_imagery(path), pytest.raises(RasterioIOError):
        rasterio.open(name.format(address))
    assert not asked


@pytest.mark.parametrize(
    "name", ["/vsicurl/http://{}/a.tif", "http://{}/a.tif", "WMS:http://{}/?", "/etc/passwd"]
)
@pytest.mark.parametrize("beside", [True, False])
def test_overviews_are_not_fetched_from_elsewhere(tmp_path, server, name, beside):
    address, asked = server
    path = write_ground(tmp_path / "utm.tif", Ground(), "EPSG:32632")
    if beside:
        (tmp_path / "utm.tif.aux.xml").write_text(
            '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
            f"{name.format(address)}</MDI></Metadata></PAMDataset>"
        )
    else:
        with rasterio.open(path, "r+") as raster:
            raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=name.format(address))
    assert "for its overviews" in refuse(path)
    assert not asked


@pytest.mark.parametrize("relative", [0, 1])
def test_a_vrt_does_not_read_outside_its_folder(tmp_path, relative):
    outside = write_ground(tmp_path / "secret.tif", Ground(), "EPSG:32632")
    name = "../secret.tif" if relative else str(outside)
    path = write_vrt(tmp_path / "download", NAMED.format(relative, name))
    assert "outside its folder" in refuse(path)


def test_a_link_does_not_lead_a_vrt_outside_its_folder(tmp_path):
    outside = write_ground(tmp_path / "secret.tif", Ground(), "EPSG:32632")
    path = write_vrt(tmp_path / "download", NAMED.format(1, "utm.tif"))
    (tmp_path / "download" / "utm.tif").symlink_to(outside)
    assert "outside its folder" in refuse(path)


def test_a_vrt_that_names_a_file_which_is_not_there(tmp_path):
    assert "which is not there" in refuse(write_vrt(tmp_path, NAMED.format(1, "gone.tif")))


@pytest.mark.parametrize("kind", ["VRTWarpedDataset", "VRTPansharpenedDataset"])
def test_a_vrt_that_computes(tmp_path, kind):
    path = write_vrt(tmp_path, NAMED.format(1, "utm.tif"))
    path.write_text(path.read_text().replace("<VRTDataset", f'<VRTDataset subClass="{kind}"'))
    assert f"is a {kind}: only plain mosaics" in refuse(path)


@pytest.mark.parametrize("kind", ["VRTRawRasterBand", "VRTDerivedRasterBand"])
def test_a_band_of_a_vrt_that_computes(tmp_path, kind):
    path = write_vrt(tmp_path, NAMED.format(1, "utm.tif"))
    path.write_text(path.read_text().replace("<VRTRasterBand", f'<VRTRasterBand subClass="{kind}"'))
    assert f"is a {kind}: only plain mosaics" in refuse(path)


def test_a_vrt_that_names_itself(tmp_path):
    assert "more than 4 deep" in refuse_any(write_vrt(tmp_path, NAMED.format(1, "hostile.vrt")))


def refuse_any(path):
    with pytest.raises(MapError) as caught, open_imagery(path):
        pass
    return str(caught.value)


def test_a_vrt_with_entities(tmp_path):
    path = write_vrt(tmp_path, NAMED.format(1, "&a;"))
    path.write_text(f'<!DOCTYPE x [<!ENTITY a "/etc/passwd">]>{path.read_text()}')
    assert "more than plain elements" in refuse(path)


@pytest.mark.parametrize("name", ["../../outside.tif", "/tmp/outside.tif", "town.tif"])
def test_archives_are_not_unpacked(tmp_path, name):
    path = tmp_path / "town.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"II*\x00")
    assert "is an archive: unpack it" in refuse(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["town.zip"]


def test_a_path_of_gdals_own_kind(tmp_path, server):
    address, asked = server
    for text in (f"/vsicurl/http://{address}/a.tif", f"/vsizip/{tmp_path}/a.zip/a.tif"):
        with pytest.raises(MapError, match="no such file or folder"), open_imagery(Path(text)):
            pass
    assert not asked


def write_png_bomb(path, side):
    """A PNG whose header promises side x side pixels, and a world file."""

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    path.with_suffix(".pgw").write_text("1\n0\n0\n-1\n500000\n5000000\n")
    return path


def test_a_picture_too_large_to_decode_whole(tmp_path):
    path = write_png_bomb(tmp_path / "bomb.png", 10_000_000)
    with pytest.raises(MapError) as caught, open_imagery(path, crs="EPSG:32632"):
        pass
    assert "\n" not in str(caught.value)
    path = write_png_bomb(tmp_path / "bomb.png", 30_000)
    with (
        pytest.raises(MapError, match=r"30000 x 30000 pixels.*gdal_translate -of COG"),
        open_imagery(path, crs="EPSG:32632"),
    ):
        pass


def test_a_tile_too_large_to_be_one(tmp_path):
    path = tmp_path / "tiles" / "17" / "68645" / "45899.png"
    path.parent.mkdir(parents=True)
    write_png_bomb(path, 20_000)
    assert "no readable tiles" in refuse_any(tmp_path / "tiles")


def test_a_geotiff_of_one_enormous_block(tmp_path):
    path = tmp_path / "blocks.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=60_000, height=60_000, count=1, dtype="uint8",
        crs="EPSG:32632", transform=UTM, tiled=True, blockxsize=32768, blockysize=32768,
        compress="deflate", SPARSE_OK=True,
    ):  # fmt: skip
        pass
    assert "blocks of 32768 x 32768 pixels" in refuse(path)


def test_a_geotiff_of_enormous_extent_is_only_read_where_it_is_looked_at(tmp_path):
    path = tmp_path / "sparse.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=500_000, height=500_000, count=1, dtype="uint16",
        crs="EPSG:32632", transform=Affine(0.1, 0, 4e5, 0, -0.1, 5.1e6), tiled=True,
        blockxsize=512, blockysize=512, compress="deflate", SPARSE_OK=True, BIGTIFF="YES",
    ):  # fmt: skip
        pass
    with open_imagery(path) as imagery:
        assert imagery.read(0.0, 0.0, (0.1, 0.1), 64, 64).covered.all()


def write_database(path, tables):
    with closing(sqlite3.connect(path)) as database, database:
        for name, columns, rows in tables:
            database.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            database.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
    return path


TILE_COLUMNS = ("zoom_level", "tile_column", "tile_row", "tile_data")


@pytest.mark.parametrize("metadata", [[("format", "pbf")], []])
def test_mbtiles_of_vector_tiles(tmp_path, metadata):
    path = write_database(
        tmp_path / "vectors.mbtiles",
        [
            ("metadata", ("name", "value"), metadata),
            ("tiles", TILE_COLUMNS, [(1, 0, 0, b"\x1f\x8b\x08\x00")]),
        ],
    )
    assert "holds vector tiles" in refuse(path)


def test_mbtiles_without_tiles(tmp_path):
    tables = [("metadata", ("name", "value"), []), ("tiles", TILE_COLUMNS, [])]
    assert "holds no tiles" in refuse(write_database(tmp_path / "empty.mbtiles", tables))
    assert "is a database without tiles" in refuse(
        write_database(tmp_path / "other.mbtiles", tables[:1])
    )


def test_a_folder_of_vector_tiles(tmp_path):
    path = tmp_path / "tiles" / "3" / "4" / "2.pbf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x1a")
    assert "holds vector tiles" in refuse(tmp_path / "tiles")


def test_complex_numbers_are_no_picture(tmp_path):
    values = np.ones((1, 256, 256), np.complex64)
    path = write_geotiff(tmp_path / "radar.tif", values, "EPSG:32632", UTM)
    assert "complex64 pixels" in refuse(path)
