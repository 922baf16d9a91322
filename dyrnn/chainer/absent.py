"""Names of Chainer that are absent on purpose: why, and what to use instead."""

import sys

# Path: names: advice.
TABLE = {
    "functions": {
        "digamma erfc erfcinv erfcx erfinv lgamma log_ndtr ndtr ndtri polygamma zeta": (
            "it is for distributions; write it with erf and log, or as a FunctionNode "
            "around scipy.special"
        ),
        "batch_det batch_inv cholesky det inv": (
            "factors of matrices are not differentiated here; see numpy.linalg, or "
            "write a FunctionNode"
        ),
        "fft ifft": "there are no Fourier transforms; use numpy.fft on data",
        "forget": "intermediate results are kept; use a smaller batch or bprop_len",
        "sparse_matmul": (
            "there are no sparse matrices; use embed_id for rows, or matmul"
        ),
        "roi_average_align_2d roi_average_pooling_2d roi_max_align_2d "
        "roi_max_pooling_2d roi_pooling_2d spatial_pyramid_pooling_2d "
        "deformable_convolution_2d_sampler": (
            "it is for detecting objects in images; torchvision.ops has its like"
        ),
        "convolution_1d convolution_3d convolution_nd dilated_convolution_2d": (
            "there is convolution_2d alone, which takes dilate; give the images axes "
            "of length 1"
        ),
        "average_pooling_1d average_pooling_3d average_pooling_nd max_pooling_1d "
        "max_pooling_3d max_pooling_nd": (
            "there are average_pooling_2d and max_pooling_2d; give the images axes of "
            "length 1, or reduce with max and average"
        ),
        "deconvolution_1d deconvolution_2d deconvolution_3d deconvolution_nd "
        "depth2space depthwise_convolution_2d im2col local_convolution_2d "
        "resize_images shift space2depth spatial_transformer_grid "
        "spatial_transformer_sampler unpooling_1d unpooling_2d unpooling_3d "
        "unpooling_nd upsampling_2d": (
            "it is for images; PyTorch has its like, and scipy.ndimage for data"
        ),
        "batch_renormalization decorrelated_batch_normalization "
        "fixed_batch_renormalization fixed_decorrelated_batch_normalization "
        "group_normalization local_response_normalization": (
            "use batch_normalization or layer_normalization"
        ),
        "contrastive triplet cross_covariance decov "
        "discriminative_margin_based_clustering_loss": (
            "write it in functions: relu, sum, matmul and square are all it takes"
        ),
        "as_strided": "use reshape, transpose and get_item",
        "rrelu": "use leaky_relu, or prelu, which learns its slope",
    },
    "links": {
        "GoogLeNet ResNet50Layers ResNet101Layers ResNet152Layers VGG16Layers "
        "VGG19Layers": (
            "it holds weights for images; torchvision and timm have such models"
        ),
        "CaffeFunction TheanoFunction caffe theano": (
            "Caffe and Theano are no longer maintained; convert the weights to npz and "
            "load them with chainer.serializers.load_npz"
        ),
        "Convolution1D Convolution3D ConvolutionND DilatedConvolution2D": (
            "there is Convolution2D alone, which takes dilate; give the images axes of "
            "length 1"
        ),
        "Deconvolution1D Deconvolution2D Deconvolution3D DeconvolutionND "
        "DeformableConvolution2D DepthwiseConvolution2D Inception InceptionBN "
        "LocalConvolution2D MLPConvolution2D": (
            "it is for images; PyTorch has its like"
        ),
        "StatefulMGU StatelessMGU": "use StatefulGRU or StatelessGRU",
        "SimplifiedDropconnect": "call chainer.functions.simplified_dropconnect",
        "BatchRenormalization DecorrelatedBatchNormalization GroupNormalization": (
            "use BatchNormalization or LayerNormalization"
        ),
    },
    "utils": {
        "conv_nd get_deconv_outsize": "it is for images; see scipy.ndimage",
        "enable_final final": "use typing.final",
        "nondeterministic": "say so in the documentation of your function",
        "CooMatrix get_order to_coo": (
            "there are no sparse matrices; use EmbedID, or scipy.sparse on data"
        ),
    },
    "dataset": {
        "TabularDataset tabular": (
            "use datasets.TupleDataset or datasets.DictDataset, whose columns have "
            "names"
        ),
    },
    "datasets": {
        "ImageDataset LabeledImageDataset LabeledZippedImageDataset "
        "MultiZippedImageDataset ZippedImageDataset": (
            "it is for images; write a DatasetMixin that opens them with Pillow"
        ),
        "get_cifar10 get_cifar100 get_kuzushiji_mnist get_kuzushiji_mnist_labels "
        "get_svhn": (
            "it is for images; give their arrays, of torchvision.datasets, say, to "
            "TupleDataset"
        ),
        "PickleDataset PickleDatasetWriter open_pickle_dataset "
        "open_pickle_dataset_writer": (
            "what was pickled may run any program when it is loaded; use TextDataset, "
            "or a DatasetMixin over a file of numpy.memmap"
        ),
    },
    "training": {
        "ParallelUpdater": "it is for several GPUs; use StandardUpdater on one device",
    },
    "training.extensions": {
        "VariableStatisticsPlot": (
            "use ParameterStatistics, and PlotReport for what it reports"
        ),
        "unchain_variables": "config.keep_graph_on_report is for DumpGraph alone",
    },
    "training.updaters": {
        "MultiprocessParallelUpdater ParallelUpdater": (
            "it is for several GPUs; use StandardUpdater on one device"
        ),
    },
    "iterators": {
        "DaliIterator": "it decodes images on GPUs; use MultiprocessIterator",
    },
    "optimizer_hooks": {
        "GradientLARS": (
            "it is for images in large batches; write a hook that scales param.grad"
        ),
    },
    "initializers": {
        "DownsamplingConvFilter UpsamplingDeconvFilter": (
            "it is for images; give initialW an array"
        ),
    },
    "testing": {
        "attr": "use pytest.mark",
        "fix_random": "call numpy.random.seed in setUp",
        "BackendConfig FunctionTestCase LinkTestCase inject_backend_tests": (
            "call gradient_check.check_backward and check_double_backward in a test"
        ),
        "distribution_unittest": "there are no distributions here; see scipy.stats",
        "FunctionTestError InitializerArgument LinkInitializersTestCase LinkTestError "
        "generate_matrix generate_seed get_trainer_with_mock_updater patch "
        "save_and_load save_and_load_hdf5 save_and_load_npz "
        "unary_math_function_unittest": (
            "it serves Chainer's own tests; use gradient_check or unittest.mock"
        ),
        "assert_warns with_requires without_requires": (
            "use pytest.warns and pytest.mark.skipif"
        ),
    },
    "": {
        "function_hooks link_hooks": (
            "time a program with cProfile, or write a chainer.FunctionHook or LinkHook"
        ),
        "distributions distribution Distribution cross_entropy kl_divergence "
        "register_kl": (
            "there are no distributions here; use functions such as gaussian, "
            "gaussian_nll, gaussian_kl_divergence and bernoulli_nll of "
            "chainer.functions, or scipy.stats"
        ),
        "graph_optimizations static_code static_graph": (
            "a model is run as it is written each time; take the decorator away"
        ),
        "exporters": "Caffe is no longer maintained; save parameters with save_npz",
    },
}
ADVICE = {
    f"{path}.{name}".strip("."): advice
    for path, table in TABLE.items()
    for names, advice in table.items()
    for name in names.split()
}


def message(path):
    """Return what to say of ``chainer.PATH``, which is not there.

    Without a full stop: Python puts ". Did you mean: ...?" behind it.
    """
    advice = ADVICE.get(path)
    if advice is not None:
        return f"chainer.{path} is not part of dyrnn.chainer: {advice}"
    function = _function_of_node(path)
    if function is not None:
        return (
            f"chainer.{path} is not part of dyrnn.chainer: version 1 had nodes among "
            f"the functions; call chainer.functions.{function}, which makes one"
        )
    return (
        f"chainer.{path} is not part of dyrnn.chainer, which has Chainer's names for "
        "recurrent and text models, the Trainer and multi-layer perceptrons. "
        "docs/chainer.md lists them, and what to use instead of the others"
    )


def _function_of_node(path):
    """Return the function that a class of version 1, such as ``ReLU``, belongs to."""
    folder, _, name = path.rpartition(".")
    if folder == "functions" and name != name.lower():
        for key in vars(sys.modules[f"{__package__}.functions"]):
            if key.replace("_", "") == name.lower():
                return key
    return None
