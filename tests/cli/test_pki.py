#!/usr/bin/env python3
"""vagtctl pki: what it makes is what openssl(1) understands, and what it refuses."""

import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

VAGTCTL = sys.argv.pop(1)


def run(*args, **env):
    return subprocess.run(
        [VAGTCTL, "pki", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={"PATH": os.environ["PATH"], **env},
    )


def openssl(*args):
    r = subprocess.run(
        ["openssl", *map(str, args)], capture_output=True, text=True, check=True
    )
    return r.stdout


class Pki(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="vagt-pki-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name) / "pki"
        self.nas = self.dir / "nodes/nas"

    def good(self, *args, **env):
        r = run(*args, **env)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        return r.stdout

    def refused(self, words, code, *args, **env):
        r = run(*args, **env)
        self.assertIn(words, r.stderr)
        self.assertEqual(r.returncode, code)

    def make(self, **env):
        self.good("init", self.dir, "campsite", **env)
        self.good("node", self.dir, 1, "nas", "192.0.2.11", "fd00::11", "nas.lan", **env)

    def test_openssl_believes_it(self):
        self.make()
        for purpose in ("sslserver", "sslclient"):
            said = openssl(
                "verify", "-x509_strict", "-purpose", purpose,
                "-CAfile", self.dir / "ca.crt", self.nas / "node.crt",
            )
            self.assertIn("OK", said)
        text = openssl("x509", "-noout", "-text", "-in", self.nas / "node.crt")
        for words in (
            "URI:vagt://campsite/node/1", "IP Address:192.0.2.11",
            "IP Address:FD00:0:0:0:0:0:0:11", "DNS:nas.lan", "CN = nas",
            "ASN1 OID: prime256v1",
        ):
            self.assertIn(words, text)
        key = openssl("pkey", "-pubout", "-in", self.nas / "node.key")
        self.assertEqual(key, openssl("x509", "-noout", "-pubkey", "-in", self.nas / "node.crt"))
        self.assertEqual(self.nas.joinpath("ca.crt").read_text(), self.dir.joinpath("ca.crt").read_text())

    def test_what_is_secret_is_for_its_owner_alone(self):
        self.make()
        for path in (self.dir / "ca.key", self.nas / "node.key", self.nas / "curve.key"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)
        for path in (self.dir, self.nas):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700, path)
        pair = [self.nas.joinpath(f"curve.{end}").read_text() for end in ("key", "pub")]
        self.assertEqual([len(half) for half in pair], [41, 41])
        self.assertNotEqual(*pair)

    def test_a_renewal_keeps_the_key(self):
        self.make()
        key = self.nas.joinpath("node.key").read_bytes()
        before = openssl("x509", "-noout", "-pubkey", "-ext", "subjectAltName", "-in", self.nas / "node.crt")
        old = openssl("x509", "-noout", "-serial", "-in", self.nas / "node.crt")
        self.assertIn("good for 500 days", self.good("renew", self.dir, "all", "--days", 500))
        after = openssl("x509", "-noout", "-pubkey", "-ext", "subjectAltName", "-in", self.nas / "node.crt")
        self.assertEqual(before, after)
        self.assertEqual(key, self.nas.joinpath("node.key").read_bytes())
        self.assertNotEqual(old, openssl("x509", "-noout", "-serial", "-in", self.nas / "node.crt"))
        openssl("verify", "-CAfile", self.dir / "ca.crt", self.nas / "node.crt")

    def test_show(self):
        self.make()
        text = self.good("show", self.dir)
        self.assertIn("vagt://campsite/node/1, nas, 192.0.2.11, fd00::11, nas.lan", text)
        rows = json.loads(self.good("show", self.dir, self.nas, "--json"))
        self.assertEqual([r["ca"] for r in rows], [True, False, True, False])
        self.assertEqual(rows[1]["until_s"] - rows[1]["from_s"], 365 * 86400 + 3600)
        self.nas.joinpath("node.crt").write_text("no certificate")
        self.refused("there is no certificate in", 1, "show", self.dir)

    def test_a_passphrase(self):
        self.make(VAGT_CA_PASSPHRASE="correct horse")
        self.assertIn("ENCRYPTED", self.dir.joinpath("ca.key").read_text())
        self.assertNotIn("ENCRYPTED", self.nas.joinpath("node.key").read_text())
        self.refused("VAGT_CA_PASSPHRASE", 1, "renew", self.dir, "nas")
        self.refused("right passphrase", 1, "renew", self.dir, "nas", VAGT_CA_PASSPHRASE="battery")
        self.good("renew", self.dir, "nas", VAGT_CA_PASSPHRASE="correct horse")

    def test_what_is_refused(self):
        self.make()
        self.refused("has a CA already", 1, "init", self.dir, "campsite")
        self.refused("is not the name of a cluster", 2, "init", self.dir / "b", "Camp site")
        self.refused("is there already", 1, "node", self.dir, 1, "nas", "192.0.2.11")
        self.refused("a number from 1 to 15", 2, "node", self.dir, 16, "x", "192.0.2.11")
        self.refused("a number from 1 to 15", 2, "node", self.dir, "1x", "x", "192.0.2.11")
        self.refused("no name for a node", 1, "node", self.dir, 2, "../x", "192.0.2.11")
        self.refused("no address and no host name", 1, "node", self.dir, 2, "x", "a,IP:192.0.2.1")
        self.refused("cannot be opened", 1, "renew", self.dir, "hut")
        self.refused("is no name", 1, "renew", self.dir, "../nas")
        self.refused("cannot be opened", 1, "node", self.dir / "nowhere", 2, "x", "192.0.2.11")
        self.refused("has no nodes", 1, "renew", self.dir / "nowhere", "all")
        self.refused("needs FOLDER CLUSTER", 2, "init", self.dir)
        self.refused("say init, node, renew or show", 2, "sign", self.dir)

    def test_a_certificate_of_another_ca_is_not_renewed(self):
        self.make()
        other = self.dir.with_name("other")
        self.good("init", other, "campsite")
        self.nas.rename(other / "nodes/nas")
        self.refused("was not signed by the CA in", 1, "renew", other, "nas")


if __name__ == "__main__":
    unittest.main()
