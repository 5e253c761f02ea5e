/* The Python face of eksblowfish.c: `ostiary.crypto._lanes`. The interpreter's lock is not held while anything is computed. */

#define _DEFAULT_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#include "eksblowfish.h"

struct job {
    struct setting setting;
    uint8_t key[MOST_KEY];
    size_t length;
    char text[HASH_TEXT];
};

struct desk {
    struct lane lanes[MOST_LANES];
    Py_ssize_t working_on[MOST_LANES];
};

/* Keeps the lanes filled until every job is done; a job that ends leaves its lane to the next. */
static void work(struct desk *desk, struct job *jobs, Py_ssize_t count, int width) {
    Py_ssize_t next = 0;
    int busy = 0;
    for (;;) {
        for (; busy < width && next < count; busy++, next++) {
            lane_begin(&desk->lanes[busy], &jobs[next].setting, jobs[next].key, jobs[next].length);
            desk->working_on[busy] = next;
        }
        if (busy == 0) return;
        lanes_advance(desk->lanes, busy);
        for (int lane = busy - 1; lane >= 0; lane--) {
            if (desk->lanes[lane].rounds_left > 0) continue;
            struct job *job = &jobs[desk->working_on[lane]];
            lane_end(&desk->lanes[lane], &job->setting, job->text);
            busy--;
            if (lane != busy) {
                desk->lanes[lane] = desk->lanes[busy];
                desk->working_on[lane] = desk->working_on[busy];
                wipe(&desk->lanes[busy], sizeof desk->lanes[busy]);
            }
        }
    }
}

static int job_read(struct job *job, PyObject *pair) {
    const char *key, *text;
    Py_ssize_t key_length, text_length;
    if (!PyTuple_Check(pair)) {
        PyErr_SetString(PyExc_TypeError, "a job is a tuple of the key and the setting");
        return -1;
    }
    if (!PyArg_ParseTuple(pair, "y#y#", &key, &key_length, &text, &text_length)) return -1;
    if (key_length > MOST_KEY) {
        PyErr_SetString(PyExc_ValueError, "a key has at most 72 bytes");
        return -1;
    }
    if (setting_read(&job->setting, text, (size_t)text_length)) {
        PyErr_SetString(PyExc_ValueError, "not a bcrypt setting");
        return -1;
    }
    memcpy(job->key, key, (size_t)key_length);
    job->length = (size_t)key_length;
    return 0;
}

static PyObject *texts_of(const struct job *jobs, Py_ssize_t count) {
    PyObject *texts = PyList_New(count);
    for (Py_ssize_t at = 0; texts && at < count; at++) {
        PyObject *text = PyBytes_FromStringAndSize(jobs[at].text, HASH_TEXT);
        if (!text || PyList_SetItem(texts, at, text)) Py_CLEAR(texts);
    }
    return texts;
}

static PyObject *hash_together(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *pairs, *texts = NULL;
    int width, is_read = 1;
    if (!PyArg_ParseTuple(arguments, "O!i", &PyList_Type, &pairs, &width)) return NULL;
    if (width < 1 || width > MOST_LANES) return PyErr_Format(PyExc_ValueError, "1 to %d lanes", (int)MOST_LANES);
    Py_ssize_t count = PyList_Size(pairs);
    if (count == 0) return PyList_New(0);
    struct job *jobs = calloc((size_t)count, sizeof *jobs);
    struct desk *desk = aligned_alloc(64, (sizeof *desk + 63) / 64 * 64);
    if (!jobs || !desk) {
        free(jobs);
        free(desk);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t at = 0; is_read && at < count; at++) is_read = !job_read(&jobs[at], PyList_GetItem(pairs, at));
    if (is_read) {
        Py_BEGIN_ALLOW_THREADS
        work(desk, jobs, count, width);
        Py_END_ALLOW_THREADS
        texts = texts_of(jobs, count);
    }
    wipe(desk, sizeof *desk);
    wipe(jobs, (size_t)count * sizeof *jobs);
    free(desk);
    free(jobs);
    return texts;
}

static PyObject *calibrate(PyObject *module, PyObject *nothing) {
    (void)module;
    (void)nothing;
    int width;
    Py_BEGIN_ALLOW_THREADS
    width = lanes_calibrate();
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(width);
}

static PyObject *use_hand(PyObject *module, PyObject *is_wanted) {
    (void)module;
    int wanted = PyObject_IsTrue(is_wanted);
    if (wanted < 0) return NULL;
    return PyBool_FromLong(lanes_use_hand(wanted) == 0);
}

static PyMethodDef METHODS[] = {
    {"hash_together", hash_together, METH_VARARGS, "The hashes of (key, setting) pairs, computed in so many lanes."},
    {"calibrate", calibrate, METH_NOARGS, "The number of lanes that is best on this processor, which is set for it."},
    {"use_hand", use_hand, METH_O, "Compute with what is written by hand, or not; False when this processor cannot."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};
static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_lanes", "bcrypt in lanes.", 0, METHODS, SLOTS, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__lanes(void) { return PyModuleDef_Init(&MODULE); }
