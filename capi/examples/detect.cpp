// Finds objects with C++: handles that free themselves, failures as exceptions.
//
//     c++ -std=c++17 -o detect detect.cpp $(pkg-config --cflags --libs yolo-lowbit)
//     ./detect MODEL.ylb PICTURE.ppm
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>
#include <yolo_lowbit.h>

namespace {

void check(ylb_status status)
{
    if (status != YLB_OK)
        throw std::runtime_error(ylb_last_error());
}

class Detector {
public:
    explicit Detector(const std::string &path)
    {
        ylb_model *model = nullptr;
        check(ylb_model_open(path.c_str(), &model));
        model_.reset(model);
        ylb_session *session = nullptr;
        check(ylb_session_new(model, nullptr, &session));
        session_.reset(session);
    }

    // The objects in a picture of RGB pixels without gaps; valid until the next call.
    std::pair<const ylb_detection *, std::size_t> detect(const std::vector<unsigned char> &pixels,
                                                         unsigned width, unsigned height)
    {
        ylb_picture picture{pixels.data(), width, height, 0, YLB_PIXELS_RGB};
        const ylb_detection *found = nullptr;
        std::size_t count = 0;
        check(ylb_session_detect(session_.get(), &picture, nullptr, &found, &count));
        return {found, count};
    }

    std::string name(unsigned class_id) const
    {
        const char *name = ylb_model_class_name(model_.get(), class_id);
        return name ? name : "class" + std::to_string(class_id);
    }

private:
    template <auto Free> struct Freer {
        template <class T> void operator()(T *handle) const { Free(handle); }
    };
    std::unique_ptr<ylb_model, Freer<ylb_model_free>> model_;
    std::unique_ptr<ylb_session, Freer<ylb_session_free>> session_;
};

std::vector<unsigned char> read_ppm(const std::string &path, unsigned &width, unsigned &height)
{
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    unsigned largest = 0;
    if (!(file >> kind >> width >> height >> largest) || kind != "P6" || largest != 255
        || width == 0 || width > 1 << 14 || height == 0 || height > 1 << 14)
        throw std::runtime_error(path + ": not a binary PPM picture");
    file.get();
    std::vector<unsigned char> pixels(std::size_t{width} * height * 3);
    if (!file.read(reinterpret_cast<char *>(pixels.data()), static_cast<std::streamsize>(pixels.size())))
        throw std::runtime_error(path + ": ends before its last pixel");
    return pixels;
}

} // namespace

int main(int argc, char **argv)
try {
    if (argc != 3) {
        std::cerr << "usage: " << argv[0] << " MODEL.ylb PICTURE.ppm\n";
        return 2;
    }
    unsigned width = 0, height = 0;
    const auto pixels = read_ppm(argv[2], width, height);
    Detector detector(argv[1]);
    const auto [found, count] = detector.detect(pixels, width, height);
    std::cout.setf(std::ios::fixed);
    for (std::size_t i = 0; i < count; i++) {
        const auto &object = found[i];
        std::cout.precision(2);
        std::cout << detector.name(object.class_id) << ' ' << object.confidence << ": ";
        std::cout.precision(1);
        std::cout << object.left << ' ' << object.top << ' ' << object.right << ' ' << object.bottom << '\n';
    }
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
