"""Decisions, subjects, catalog and models against a real node. Needs the standard library only."""

import math
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import arbiter as ab
from arbiter import _import
from arbiter.records import Record

from .node import EXAMPLES, NodeTest, free_port


class Decisions(NodeTest):
    def test_decide_respond_and_history_are_one_memory(self):
        d = self.c.decide("S-000001", "web", placements={"hero": 2}, contexts={"category": "family-plans"}, explain="full")
        self.assertFalse(d.degraded)
        self.assertEqual(d.decision_id, d["decisionId"])
        self.assertLessEqual(len(d.offers("hero")), 2)
        self.assertTrue(d.explanation.stages)
        self.assertEqual(d.best, d.offers()[0])
        receipt = self.c.respond(d.best, "Rejected")
        self.assertEqual((receipt.decision_id, receipt.action, receipt.outcome), (d.decision_id, d.best.action, "Rejected"))
        again = self.c.respond(decision_id=d.decision_id, action=d.best.action, outcome="Rejected")
        self.assertTrue(again.duplicate)
        page = self.c.subjects.history("S-000001", limit=1)
        self.assertEqual(page.interactions[0].outcome, "Rejected")
        self.assertIsNotNone(page.next_cursor)
        self.assertTrue(self.c.subjects.history("S-000001", cursor=page.next_cursor).interactions)

    def test_the_same_key_gets_the_same_decision(self):
        first = self.c.decide("S-000004", "web", explain="reasons", idempotency_key="python-1")
        again = self.c.decide("S-000004", "web", explain="reasons", idempotency_key="python-1")
        self.assertEqual(again, first)
        with self.assertRaises(ab.KeyReused):
            self.c.decide("S-000004", "web", idempotency_key="python-1")
        self.c.respond(first.best, "Clicked")
        stored = self.c.decision(first.decision_id)
        self.assertEqual(stored.propositions, first.propositions)
        self.assertEqual([r.outcome for r in stored.responses], ["Clicked"])

    def test_simulated_decisions_leave_nothing_behind(self):
        self.c.decide({"id": "S-000002", "type": "subscriber"}, "web", simulate=True)
        self.assertEqual(self.c.subjects.history("S-000002").interactions, [])

    def test_several_responses_at_once(self):
        d = self.c.decide("S-000003", "web")
        receipts = self.c.respond_many({"responseToken": d.best.response_token, "outcome": o} for o in ("Impression", "Clicked"))
        self.assertEqual([r.outcome for r in receipts], ["Impression", "Clicked"])

    def test_refusals_have_types_codes_and_places(self):
        with self.assertRaises(ab.SubjectUnknown) as caught:
            self.c.decide("nobody", "web")
        self.assertEqual((caught.exception.status, caught.exception.code), (404, "SUBJECT_UNKNOWN"))
        self.assertTrue(caught.exception.request_id)
        with self.assertRaises(ab.Invalid) as caught:
            self.c.decide("S-000001", "")
        self.assertEqual(caught.exception.errors[0].pointer, "/channel")
        with self.assertRaises(ab.DecisionUnknown):
            self.c.respond(decision_id="01KAN3Z1X2QK8Z0T5N4B7C9D0E", action="x")
        with self.assertRaises(ab.ArbiterError):
            self.c.respond()

    def test_nobody_answers(self):
        c = ab.connect(f"127.0.0.1:{free_port()}", timeout=5)
        self.assertFalse(c.ready())
        with self.assertRaises(ab.Unreachable):
            c.decide("S-1", "web")

    def test_addresses_with_more_than_a_host_are_refused(self):
        for addr in ("http://127.0.0.1:1/v1", "ftp://x", "http://user@host:1", "http://"):
            with self.subTest(addr), self.assertRaises(ab.ArbiterError):
                ab.connect(addr)


class Subjects(NodeTest):
    def test_put_get_patch_delete(self):
        id = "P/1 ü?#%2F"
        created = self.c.subjects.put(id, {"tenure": 3}, {"marketing": True}, create_only=True)
        with self.assertRaises(ab.PreconditionFailed):
            self.c.subjects.put(id, {"tenure": 3}, create_only=True)
        got = self.c.subjects.get(id)
        self.assertEqual((got.id, got.attributes.tenure, got.consents.marketing), (id, 3, True))
        self.assertEqual(got.version, created.version)
        patched = self.c.subjects.patch(id, {"tenure": 4}, {"marketing": None}, if_version=got.version)
        self.assertEqual(patched.attributes.tenure, 4)
        self.assertNotIn("marketing", patched.get("consents", {}))
        with self.assertRaises(ab.PreconditionFailed):
            self.c.subjects.patch(id, {"tenure": 5}, if_version=got.version)
        self.c.subjects.delete(id)
        with self.assertRaises(ab.SubjectUnknown):
            self.c.subjects.get(id)

    def test_ids_that_look_like_paths(self):
        for id in ("..", ".", "a/../b"):
            with self.subTest(id):
                self.c.subjects.put(id, {"tenure": 1})
                self.assertEqual(self.c.subjects.get(id).id, id)
                self.c.subjects.delete(id)

    def test_types_are_apart(self):
        self.c.subjects.put("P-2", {}, type="account")
        self.assertEqual(self.c.subjects.get("P-2", type="account").type, "account")
        with self.assertRaises(ab.SubjectUnknown):
            self.c.subjects.get("P-2")

    def test_attributes(self):
        dictionary = self.c.subjects.declare([{"name": "pythonScore", "type": "float"}])
        self.assertIn("pythonScore", [a.name for a in dictionary.attributes])
        with self.assertRaises(ab.Conflict):
            self.c.subjects.declare([{"name": "pythonScore", "type": "bool"}])
        with self.assertRaises(ab.AttributeUnknown):
            self.c.subjects.put("P-3", {"pythonScor": 1})

    def test_missing_values_are_not_json(self):
        with self.assertRaisesRegex(ab.ArbiterError, "leave a missing value out"):
            self.c.subjects.put("P-4", {"tenure": float("nan")})

    def test_import_rows(self):
        result = self.c.subjects.import_rows([{"id": "I-1", "attributes": {"tenure": 1}}, {"id": "I-2", "attributes": {"tenure": "x"}}])
        self.assertEqual((result.read, result.accepted, result.rejected), (2, 1, 1))
        self.assertEqual(result.problems[0].line, 2)

    def test_import_csv_in_pieces_with_a_mapping(self):
        mapping = ("format: csv\nsubject: {id: id, type: subscriber}\n"
                   "attributes:\n  - {name: tenure, column: Tenure, type: int}\n  - {name: pythonNote, column: Note, type: string}\n")
        lines = ["id,Tenure,Note"] + [f'C-{i},{"x" if i in (7, 25) else i},"a\n""b"""' for i in range(30)]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "c.csv")
            file.write_text("\n".join(lines) + "\n")
            original, _import.PIECE_LINES = _import.PIECE_LINES, 8
            try:
                result = self.c.subjects.import_file(file, mapping=mapping)
            finally:
                _import.PIECE_LINES = original
        self.assertEqual((result.read, result.accepted, result.rejected), (30, 28, 2))
        self.assertEqual([p.line for p in result.problems], [2 + 2 * 7, 2 + 2 * 25])  # each record spans two lines
        self.assertEqual(self.c.subjects.get("C-29").attributes.python_note, 'a\n"b"')


class Pieces(unittest.TestCase):
    def test_nothing_is_lost_or_doubled(self):
        import io

        body = b"".join(b'%d,"%s"\n' % (i, b"\n" * (i % 3)) for i in range(50))
        original, _import.PIECE_LINES = _import.PIECE_LINES, 7
        try:
            found = list(_import.pieces(io.BytesIO(b"\xef\xbb\xbfa,b\r\n" + body[:-1]), csv=True))
        finally:
            _import.PIECE_LINES = original
        header = b"\xef\xbb\xbfa,b\n"
        self.assertTrue(all(piece.startswith(header) for piece, _ in found))
        self.assertEqual(b"".join(piece[len(header) :] for piece, _ in found), body[:-1])
        line = 1
        for piece, first in found:
            self.assertEqual(first, line)
            line += piece.count(b"\n") - 1
        self.assertEqual([p for p, _ in _import.pieces(io.BytesIO(b"a,b\n"), csv=True)], [b"a,b\n"])
        self.assertEqual(list(_import.pieces(io.BytesIO(b""), csv=False)), [])


class CatalogTest(NodeTest):
    def test_validate_put_activate(self):
        head = self.c.catalog.get()
        self.c.catalog.validate(head)
        with self.assertRaises(ab.CatalogInvalid) as caught:
            self.c.catalog.validate(str(head).replace("apiVersion: arbiter/v1", "apiVersion: arbiter/v9"))
        self.assertTrue(caught.exception.errors[0].line)
        with self.assertRaises(ab.PreconditionRequired):
            self.c.catalog.put(head)
        stored = self.c.catalog.put(head + "\n# changed\n", if_version=head.version)
        with self.assertRaises(ab.PreconditionFailed):
            self.c.catalog.put(head, if_version=head.version)
        self.assertEqual(self.c.catalog.activate(stored).state, "active")
        self.assertEqual(self.c.catalog.get("active").version, stored.version)
        self.assertIn(stored.version, [v.version for v in self.c.catalog.versions()])
        with self.assertRaises(ab.CatalogUnknown):
            self.c.catalog.get(1 << 40)

    def test_a_path_is_read(self):
        self.c.catalog.validate(EXAMPLES / "catalog.yaml")


def another_churn():
    """The demo's model as version 7.0.0, compiled by the program."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "churn.wasm"
        subprocess.run([os.environ["ARBITER_BIN"], "model", "compile", str(EXAMPLES / "model" / "churn.xgb.json"), "--features",
                        str(EXAMPLES / "model" / "features.yaml"), "--name", "churn", "--version", "7.0.0", "-o", str(out)], check=True, capture_output=True)  # fmt: skip
        return out.read_bytes()


class ModelsTest(NodeTest):
    def test_list_and_get(self):
        churn = self.c.models.list("churn")[0]
        self.assertEqual(churn.kind, "scorer")
        self.assertTrue(self.c.models.get("churn", churn.version).manifest["features"])
        with self.assertRaises(ab.PluginUnknown):
            self.c.models.get("churn", "9.9.9")

    def test_refused_artifacts_name_the_rule(self):
        with self.assertRaises(ab.PluginRefused):
            self.c.models.push(b"\0asm\1\0\0\0")

    def test_rollouts(self):
        active = next(m for m in self.c.models.list("churn") if m.state == "active")
        self.assertEqual(self.c.models.rollout("churn", active.version, steps=("active",)).state, "active")
        with self.assertRaisesRegex(ab.Conflict, "active already"):
            self.c.models.rollout("churn", active.version)
        with self.assertRaisesRegex(ab.ArbiterError, "no guardrail speed"):
            self.c.models.rollout("churn", active.version, guardrails={"speed": 3})
        with self.assertRaisesRegex(ab.ArbiterError, "percentage"):
            self.c.models.rollout("churn", active.version, steps=("canary",))
        self.c.models.push(another_churn())
        r = self.c.models.rollout("churn", "7.0.0", steps=("shadow", 40), guardrails={"errors": 0.02, "shift": None, "latency": None, "calls": 10})
        self.assertEqual((r.steps[1]["permille"], r.limits["errorPpm"]), (400, 20000))
        shadow = self.c.models.wait("churn", "shadow", timeout=30, poll=0.05)
        self.assertEqual((shadow.id, shadow.running, shadow.percent), (r.id, True, 0))
        self.assertTrue(self.c.models.pause(r).paused)
        with self.assertRaisesRegex(ab.Conflict, "resume"):
            self.c.models.promote(r)
        self.assertFalse(self.c.models.resume(r.id).paused)
        self.assertEqual(self.c.models.promote("churn").percent, 40)
        for i in range(50):
            self.c.decide(f"S-{1 + i:06d}", "callcentre", simulate=True)
        seen = self.c.models.wait(r, lambda v: v.arms["candidate"]["calls"] > 0 and v.arms["incumbent"]["calls"] > 0, timeout=30, poll=0.05)
        self.assertEqual(seen.stage, "canary")
        self.assertEqual(self.c.models.promote(r).stage, "active")
        self.assertEqual(self.c.models.undo(r).stage, "rolledBack")
        self.assertEqual(next(m for m in self.c.models.list("churn") if m.state == "active").version, active.version)
        again = self.c.models.rollout("churn", "7.0.0", steps=("shadow",))
        self.assertEqual(self.c.models.abort(again).cause, "aborted")
        self.assertEqual([v.id for v in self.c.models.rollouts("churn")][:2], [again.id, r.id])
        self.assertEqual(again.breaches, [])
        with self.assertRaises(ab.NotFound):
            self.c.models.rollout_status("nothing-1")

    def test_features_are_those_that_are_scored(self):
        self.c.subjects.patch("S-000007", consents={"profiling": True, "marketing": True})
        d = self.c.decide("S-000007", "callcentre", explain="full")
        scored = [candidate for candidate in d.explanation.candidates if candidate.get("features")]
        self.assertTrue(scored)
        rows = self.c.models.features("churn", ["S-000007", "nobody"])
        self.assertEqual({k: v for k, v in rows[0].items() if not math.isnan(v)}, scored[0].features)
        self.assertTrue(all(math.isnan(v) for v in rows[1].values()))
        recipes = {"charges": {"log": {"attribute": "monthlyCharges", "offset": 1}}, "share": {"ratio": {"attribute": "monthlyCharges", "by": "totalCharges"}},
                   "contacts": {"history": {"aggregate": "contacts"}}, "value": {"actionProperty": "value"}, "tenure": "tenure", "page": {"context": "page"}}  # fmt: skip
        offers = [{"who": "S-000007", "offer": d.best.action, "page": 3}, {"who": "S-000007", "offer": d.best.action, "page": None}]
        made = self.c.models.features(recipes, offers, id="who", action="offer", contexts=["page"])
        charges = self.c.subjects.get("S-000007").attributes.monthly_charges
        self.assertAlmostEqual(made[0]["charges"], math.log1p(charges), delta=1e-15)
        self.assertGreaterEqual(made[0]["contacts"], 1)
        self.assertEqual((made[0]["page"], math.isnan(made[1]["page"])), (3.0, True))
        with self.assertRaisesRegex(ab.Problem, "did you mean tenure"):
            self.c.models.features({"t": "tenrue"}, ["S-000007"])
        with self.assertRaisesRegex(ab.ArbiterError, "no column whom"):
            self.c.models.features({"t": "tenure"}, offers, id="whom")


class Records(unittest.TestCase):
    def test_names(self):
        r = Record(decisionId="x")
        self.assertEqual(r.decision_id, "x")
        with self.assertRaisesRegex(AttributeError, "did you mean decisionId"):
            r.decision_ids

    def test_problems_of_other_servers(self):
        p = ab.errors.problem(502, {"title": "Bad Gateway"})
        self.assertEqual((str(p), p.code), ("Bad Gateway", ""))


if __name__ == "__main__":
    unittest.main()
