"""The Open Inference Protocol (KServe v2) with a client of others: tritonclient, over HTTP."""

import unittest

try:
    import numpy as np
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException
except ImportError:  # make test-python installs them
    triton = None

from .node import NodeTest, connect


@unittest.skipIf(triton is None, "tritonclient is not installed: make test-python installs it")
class Inference(NodeTest):
    def setUp(self):
        super().setUp()
        self.triton = triton.InferenceServerClient(connect().addr.removeprefix("http://"))
        self.addCleanup(self.triton.close)
        self.model = self.triton.get_model_metadata("churn")

    def rows(self, n):
        return np.random.default_rng(7).uniform(0, 60, (n, len(self.model["inputs"])))

    def test_server_and_model_are_ready(self):
        self.assertTrue(self.triton.is_server_live())
        self.assertTrue(self.triton.is_server_ready())
        self.assertTrue(self.triton.is_model_ready("churn"))
        self.assertFalse(self.triton.is_model_ready("none"))
        self.assertEqual(self.triton.get_server_metadata()["name"], "arbiter")
        version = self.model["versions"][0]
        self.assertTrue(self.triton.is_model_ready("churn", version))
        self.assertEqual(self.model["outputs"], [{"name": "score", "datatype": "FP64", "shape": [-1]}])

    def infer(self, inputs, **options):
        return self.triton.infer("churn", inputs, **options).as_numpy("score")

    def test_matrix_and_tensors_by_name_as_bytes_and_as_json_score_the_same(self):
        rows = self.rows(20)
        rows[3, 1] = np.nan
        scores = []
        for binary in (True, False):
            matrix = triton.InferInput("features", rows.shape, "FP64")
            # JSON has no NaN: what is missing can only be sent as bytes, or as null.
            matrix.set_data_from_numpy(rows if binary else np.nan_to_num(rows), binary_data=binary)
            scores.append(self.infer([matrix]))
        named = []
        for i, feature in enumerate(self.model["inputs"]):
            named.append(triton.InferInput(feature["name"], [len(rows)], "FP64"))
            named[-1].set_data_from_numpy(np.ascontiguousarray(rows[:, i]))
        scores.append(self.infer(named, model_version=self.model["versions"][0], request_id="7"))
        self.assertEqual(scores[0].shape, (20,))
        self.assertTrue(((scores[0] >= 0) & (scores[0] <= 1)).all())
        np.testing.assert_array_equal(scores[0], scores[2])
        rest = np.arange(20) != 3
        np.testing.assert_array_equal(scores[0][rest], scores[1][rest])

    def test_other_number_types(self):
        name = self.model["inputs"][0]["name"]
        found = []
        for datatype, kind in (("FP64", np.float64), ("FP32", np.float32), ("INT32", np.int32), ("UINT8", np.uint8), ("INT64", np.int64)):
            tensor = triton.InferInput(name, [2, 1], datatype)
            tensor.set_data_from_numpy(np.array([[1], [40]], dtype=kind))
            found.append(self.infer([tensor]))
        for scores in found[1:]:
            np.testing.assert_array_equal(found[0], scores)

    def test_refusals_say_what_is_wrong(self):
        tensor = triton.InferInput("nothing", [1], "FP64")
        tensor.set_data_from_numpy(np.zeros(1))
        with self.assertRaisesRegex(InferenceServerException, "no feature"):
            self.infer([tensor])
        many = triton.InferInput("features", [2000, len(self.model["inputs"])], "FP64")
        many.set_data_from_numpy(self.rows(2000))
        with self.assertRaisesRegex(InferenceServerException, "1 to 1024 rows"):
            self.infer([many])
        with self.assertRaises(InferenceServerException):
            self.triton.get_model_metadata("none")
