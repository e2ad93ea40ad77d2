// Run an exported detection model on an image with OpenCV alone.
//
//     predict model=best.onnx source=photo.jpg [save=photo-predicted.jpg] [conf=0.25] [iou=0.7]
//
// Prints what scripts/predict_onnx.py prints, a line per box: class, confidence, and left, top, right and bottom in
// pixels of the image. The export must have a fixed size (no dynamic=True). OpenCV 4.7 and later run it as it is; for
// OpenCV 4.6, which Debian 12 and Ubuntu 24.04 have, pass it through for_opencv46.py first.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core/utils/logger.hpp>
#include <opencv2/dnn.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

using Strings = std::map<std::string, std::string>;

const cv::Scalar GRAY(114, 114, 114);  // Ultralytics' padding value
const size_t MAX_BOXES = 300;
const std::string USAGE = "predict model=best.onnx source=photo.jpg";
const std::string EXPORT = "yolo export model=best.pt format=onnx";

struct Box {
    int cls;
    float score;
    double left, top, right, bottom;
};

// An error that the user can correct; its message says how.
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

Strings parse(int count, char** words) {
    Strings args;
    for (const std::string& item : std::vector<std::string>(words + 1, words + count)) {
        std::smatch match;
        if (!std::regex_match(item, match, std::regex("(conf|iou|model|save|source)=(.*)")))
            throw Refused(item + ": unknown argument; write key=value, key one of conf, iou, model, save, source: " +
                          USAGE);
        args[match[1]] = match[2];
    }
    for (const char* key : {"model", "source"})
        if (!args.count(key)) throw Refused(std::string(key) + "= is missing: " + USAGE);
    if (!std::filesystem::is_regular_file(args["model"]))
        throw Refused("model=" + args["model"] + ": no such file; make it with: " + EXPORT);
    return args;
}

float number(const Strings& args, const std::string& key, const std::string& default_value) {
    const std::string text = args.count(key) ? args.at(key) : default_value;
    std::istringstream stream(text);
    float value;
    if (!(stream >> value) || !stream.eof())
        throw Refused(key + "=" + text + ": write a number, such as " + key + "=" + default_value);
    return value;
}

// Returns a value of an ONNX file's metadata, which OpenCV does not: empty if there is none. The file has a byte 10, the
// length of the key, the key, a byte 18, the length of the value, and the value. A length is written 7 bits at a time.
std::string metadata(const std::string& file, const std::string& key) {
    const std::string before = '\n' + std::string(1, char(key.size())) + key + '\x12';
    size_t at = file.rfind(before), size = 0;
    if (at == std::string::npos) return "";
    at += before.size();
    for (int shift = 0;; shift += 7) {
        const unsigned char byte = file.at(at++);
        size |= size_t(byte & 127) << shift;
        if (byte < 128) return file.substr(at, size);
    }
}

// The class names, which Ultralytics writes as Python does: {0: 'circle', 1: "driver's cab"}.
std::map<int, std::string> read_names(const std::string& text) {
    static const std::regex entry(R"re((\d+): (?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"))re");
    static const std::regex escape(R"re(\\(.))re");
    std::map<int, std::string> names;
    for (std::sregex_iterator match(text.begin(), text.end(), entry), end; match != end; ++match)
        names[std::stoi((*match)[1])] = std::regex_replace((*match)[2].str() + (*match)[3].str(), escape, "$1");
    return names;
}

// Returns the size of the model's input. Throws Refused if the model is not a detector with a fixed input size.
cv::Size read_size(const std::string& path, const std::string& file) {
    int height = 0, width = 0;
    if (metadata(file, "task") != "detect" ||
        std::sscanf(metadata(file, "imgsz").c_str(), "[%d, %d]", &height, &width) != 2)
        throw Refused("model=" + path + ": no detection model exported by Ultralytics; make it with: " + EXPORT);
    if (metadata(file, "args").find("'dynamic': True") != std::string::npos)
        throw Refused("model=" + path + ": its input has no fixed size; export it with dynamic=False");
    return {width, height};
}

cv::Mat infer(const std::string& path, const cv::Mat& blob) {
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);  // errors are reported below
    try {
        cv::dnn::Net network = cv::dnn::readNetFromONNX(path);
        network.setInput(blob);
        return network.forward();
    } catch (const cv::Exception& error) {
        throw Refused("model=" + path + ": OpenCV " CV_VERSION
                      " cannot run it. OpenCV 4.7 and later run it as exported; for 4.6, export it with opset=12 "
                      "and write: python for_opencv46.py model=" + path + "\n" + error.what());
    }
}

// Resizes the image to the model's input as Ultralytics does: keeps the aspect ratio and pads with gray, half on each
// side; of an odd padding the larger half is at the right and the bottom. lrint rounds halves to even, as Python does.
// The scales across and down are those of the resized image: rounded to whole pixels, they differ a little.
cv::Mat letterbox(const cv::Mat& image, cv::Size size, cv::Size2d& scale, int& left, int& top) {
    const double both = std::min(double(size.height) / image.rows, double(size.width) / image.cols);
    const cv::Size inner(std::max(std::lrint(image.cols * both), 1L), std::max(std::lrint(image.rows * both), 1L));
    scale = cv::Size2d(double(inner.width) / image.cols, double(inner.height) / image.rows);
    left = std::lrint((size.width - inner.width) / 2.0 - 0.1);
    top = std::lrint((size.height - inner.height) / 2.0 - 0.1);
    cv::Mat padded = image;
    if (inner != image.size()) cv::resize(image, padded, inner, 0, 0, cv::INTER_LINEAR);
    cv::copyMakeBorder(padded, padded, top, size.height - inner.height - top, left, size.width - inner.width - left,
                       cv::BORDER_CONSTANT, GRAY);
    return cv::dnn::blobFromImage(padded, 1 / 255.0, cv::Size(), cv::Scalar(), true);
}

std::vector<Box> predict(const std::string& path, cv::Size size, int classes, const cv::Mat& image, float conf,
                         float iou) {
    cv::Size2d scale;
    int left, top;
    cv::Mat output = infer(path, letterbox(image, size, scale, left, top));
    if (output.dims != 3 || output.size[1] != 4 + classes)
        throw Refused("model=" + path + ": it sorts its boxes out itself; export it without nms=");
    // One row per box: centre x and y, width, height, then a confidence per class.
    const cv::Mat rows = cv::Mat(output.size[1], output.size[2], CV_32F, output.ptr<float>()).t();

    const auto across = [&](double x) { return std::clamp((x - left) / scale.width, 0.0, double(image.cols)); };
    const auto down = [&](double y) { return std::clamp((y - top) / scale.height, 0.0, double(image.rows)); };
    std::vector<Box> boxes;
    std::vector<cv::Rect2d> shifted;  // by class, so that boxes of different classes do not suppress each other
    std::vector<float> scores;
    const double offset = 4.0 * std::max(size.width, size.height);
    for (int i = 0; i < rows.rows; ++i) {
        const float* row = rows.ptr<float>(i);
        const float* best = std::max_element(row + 4, row + rows.cols);
        if (!(*best > conf)) continue;
        const double x = row[0], y = row[1], w = row[2], h = row[3];
        const int cls = int(best - row) - 4;
        boxes.push_back({cls, *best, across(x - w / 2), down(y - h / 2), across(x + w / 2), down(y + h / 2)});
        shifted.emplace_back(x - w / 2 + cls * offset, y - h / 2, w, h);
        scores.push_back(*best);
    }
    std::vector<int> kept;  // the most confident first
    cv::dnn::NMSBoxes(shifted, scores, conf, iou, kept);
    kept.resize(std::min(kept.size(), MAX_BOXES));

    std::vector<Box> result;
    for (const int k : kept) result.push_back(boxes[k]);
    return result;
}

void draw(cv::Mat& image, const Box& box, const std::string& name) {
    cv::Mat color(1, 1, CV_8UC3, cv::Scalar(box.cls * 47 % 180, 220, 230));
    cv::cvtColor(color, color, cv::COLOR_HSV2BGR);
    const cv::Scalar fill = color.at<cv::Vec3b>(0, 0);
    const int line = std::max(int(std::lrint((image.rows + image.cols) / 2.0 * 0.003)), 1);
    const cv::Point corner(std::lrint(box.left), std::lrint(box.top));
    cv::rectangle(image, corner, cv::Point(std::lrint(box.right), std::lrint(box.bottom)), fill, line);

    const double size = std::max(std::min(image.rows, image.cols) / 900.0, 0.35);
    cv::putText(image, name + cv::format(" %.2f", box.score), {corner.x, std::max(corner.y - 2 * line, 12)},
                cv::FONT_HERSHEY_SIMPLEX, size, fill, line, cv::LINE_AA);
}

void run(const Strings& args) {
    const float conf = number(args, "conf", "0.25"), iou = number(args, "iou", "0.7");
    const std::string model = args.at("model"), source = args.at("source");
    cv::Mat image = cv::imread(source);
    if (image.empty())
        throw Refused("source=" + source +
                      ": no image can be read there; write the path of a JPEG, PNG or BMP file");
    std::ifstream stream(model, std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(stream), {}};
    const cv::Size size = read_size(model, file);
    auto names = read_names(metadata(file, "names"));

    const std::vector<Box> boxes = predict(model, size, int(names.size()), image, conf, iou);
    for (const Box& box : boxes) {
        std::printf("%s %.3f %.1f %.1f %.1f %.1f\n", names[box.cls].c_str(), box.score, box.left, box.top, box.right,
                    box.bottom);
        draw(image, box, names[box.cls]);
    }
    const std::filesystem::path from(source);
    const std::string default_save =
        (from.parent_path() / (from.stem().string() + "-predicted" + from.extension().string())).string();
    const std::string save = args.count("save") ? args.at("save") : default_save;
    if (!cv::haveImageWriter(save) || !cv::imwrite(save, image))
        throw Refused("save=" + save +
                      ": the image cannot be written there; write a path in a folder that exists, such as out.jpg");
    std::printf("%zu boxes, drawn in %s\n", boxes.size(), save.c_str());
}

int main(int count, char** words) {
    try {
        run(parse(count, words));
    } catch (const Refused& refusal) {
        std::fprintf(stderr, "%s\n", refusal.what());
        return 1;
    }
}
