"""YOLOv8n and YOLOX-nano, written into a graph of `network.py` with 80 classes."""

CLASSES = 80


def yolov8n(graph):
    """YOLOv8n from its published configuration, as its exports have it: a block's first convolution is split in halves."""

    def block(name, x, outputs, repeats, shortcut):
        parts = [*graph.split(f"{name}_split", graph.conv(f"{name}_cv1", x, outputs))]
        for repeat in range(repeats):
            y = graph.conv(f"{name}_m{repeat}_cv1", parts[-1], outputs // 2, 3)
            y = graph.conv(f"{name}_m{repeat}_cv2", y, outputs // 2, 3)
            parts.append(graph.add(f"{name}_m{repeat}_add", [parts[-1], y]) if shortcut else y)
        return graph.conv(f"{name}_cv2", graph.concat(f"{name}_cat", parts), outputs)

    x = graph.conv("l0", graph.input, 16, 3, 2)
    x = block("l2", graph.conv("l1", x, 32, 3, 2), 32, 1, True)
    p3 = block("l4", graph.conv("l3", x, 64, 3, 2), 64, 2, True)
    p4 = block("l6", graph.conv("l5", p3, 128, 3, 2), 128, 2, True)
    x = block("l8", graph.conv("l7", p4, 256, 3, 2), 256, 1, True)
    p5 = graph.sppf("l9", x, 256)
    n4 = block("l12", graph.concat("l11", [graph.upsample("l10", p5), p4]), 128, 1, False)
    n3 = block("l15", graph.concat("l14", [graph.upsample("l13", n4), p3]), 64, 1, False)
    x = graph.concat("l17", [graph.conv("l16", n3, 64, 3, 2), n4])
    m4 = block("l18", x, 128, 1, False)
    x = graph.concat("l20", [graph.conv("l19", m4, 128, 3, 2), p5])
    m5 = block("l21", x, 256, 1, False)
    for level, x in enumerate([n3, m4, m5]):
        for branch, hidden, outputs in [("box", 64, 64), ("class", 80, CLASSES)]:
            y = graph.conv(f"l22_{branch}{level}_0", x, hidden, 3)
            graph.head(graph.conv(f"l22_{branch}{level}_1", y, hidden, 3), outputs)


def yolox_nano(graph):
    """YOLOX-nano (Ge and others, 2021). Its first layer, which rearranges pixels before a convolution of 3x3, is the
    convolution of 6x6 that both are together."""

    def separable(name, x, outputs, stride=1):
        y = graph.conv(f"{name}_dconv", x, x.channels, 3, stride, groups=x.channels)
        return graph.conv(f"{name}_pconv", y, outputs)

    def block(name, x, outputs, repeats, shortcut):
        hidden = outputs // 2
        y, side = graph.conv(f"{name}_conv1", x, hidden), graph.conv(f"{name}_conv2", x, hidden)
        for repeat in range(repeats):
            z = separable(f"{name}_m{repeat}", graph.conv(f"{name}_m{repeat}_conv1", y, hidden), hidden)
            y = graph.add(f"{name}_m{repeat}_add", [y, z]) if shortcut else z
        return graph.conv(f"{name}_conv3", graph.concat(f"{name}_cat", [y, side]), outputs)

    x = graph.conv("stem", graph.input, 16, 6, 2)
    x = block("dark2", separable("down2", x, 32, 2), 32, 1, True)
    p3 = block("dark3", separable("down3", x, 64, 2), 64, 3, True)
    p4 = block("dark4", separable("down4", p3, 128, 2), 128, 3, True)
    x = graph.conv("spp_conv1", separable("down5", p4, 256, 2), 128)
    pools = [graph.pool(f"spp_pool{kernel}", x, kernel) for kernel in (5, 9, 13)]
    x = graph.conv("spp_conv2", graph.concat("spp_cat", [x, *pools]), 256)
    p5 = block("dark5", x, 256, 1, False)
    n5 = graph.conv("lateral", p5, 128)
    x = block("c3_p4", graph.concat("join_p4", [graph.upsample("up_p4", n5), p4]), 128, 1, False)
    n4 = graph.conv("reduce", x, 64)
    n3 = block("c3_p3", graph.concat("join_p3", [graph.upsample("up_p3", n4), p3]), 64, 1, False)
    o4 = block("c3_n3", graph.concat("join_n3", [separable("bu2", n3, 64, 2), n4]), 128, 1, False)
    o5 = block("c3_n4", graph.concat("join_n4", [separable("bu1", o4, 128, 2), n5]), 256, 1, False)
    for level, x in enumerate([n3, o4, o5]):
        stem = graph.conv(f"stem{level}", x, 64)
        for branch, all_outputs in [("reg", (4, 1)), ("cls", (CLASSES,))]:
            y = separable(f"{branch}{level}_0", stem, 64)
            y = separable(f"{branch}{level}_1", y, 64)
            for outputs in all_outputs:
                graph.head(y, outputs)


BUILDERS = {"yolov8n": yolov8n, "yolox-nano": yolox_nano}
