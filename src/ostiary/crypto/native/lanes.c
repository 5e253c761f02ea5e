/* The Python face of eksblowfish.c: `ostiary.crypto._lanes`. The interpreter's lock is not held while anything is computed. */

#define _DEFAULT_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "eksblowfish.h"

struct job {
    long long number;
    struct setting setting;
    uint8_t key[MOST_KEY];
    size_t length;
};

/* What is put before a desk waits in a slot. Whoever holds the interpreter's lock fills an empty one, whoever computes empties a full one. */
struct slot {
    _Atomic int is_full;
    struct job job;
};

struct ended {
    long long number;
    char text[HASH_TEXT];
};

struct desk {
    struct lane lanes[MOST_LANES];
    long long numbers[MOST_LANES];
    struct setting settings[MOST_LANES];
    int busy;
    struct slot slots[MOST_LANES];
};

/* Gives what waits a lane. */
static void seat(struct desk *desk) {
    for (int at = 0; at < MOST_LANES && desk->busy < MOST_LANES; at++) {
        struct slot *slot = &desk->slots[at];
        if (!atomic_load_explicit(&slot->is_full, memory_order_acquire)) continue;
        lane_begin(&desk->lanes[desk->busy], &slot->job.setting, slot->job.key, slot->job.length);
        desk->numbers[desk->busy] = slot->job.number;
        desk->settings[desk->busy] = slot->job.setting;
        desk->busy++;
        wipe(&slot->job, sizeof slot->job);
        atomic_store_explicit(&slot->is_full, 0, memory_order_release);
    }
}

/* Computes until something has ended, and says how much; 0 when there is nothing to do. What is put before the desk meanwhile joins. */
static int work(struct desk *desk, struct ended *ended) {
    int count = 0;
    while (count == 0) {
        seat(desk);
        if (desk->busy == 0) return 0;
        lanes_advance(desk->lanes, desk->busy);
        for (int lane = desk->busy - 1; lane >= 0; lane--) {
            if (desk->lanes[lane].rounds_left > 0) continue;
            ended[count].number = desk->numbers[lane];
            lane_end(&desk->lanes[lane], &desk->settings[lane], ended[count++].text);
            int last = --desk->busy;
            if (lane == last) continue;
            desk->lanes[lane] = desk->lanes[last];
            desk->numbers[lane] = desk->numbers[last];
            desk->settings[lane] = desk->settings[last];
            wipe(&desk->lanes[last], sizeof desk->lanes[last]);
        }
    }
    return count;
}

typedef struct {
    PyObject_HEAD
    struct desk *desk;
    int is_taken; /* under the interpreter's lock: a thread computes here */
} Desk;

static PyObject *desk_new(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    if (PyTuple_Size(arguments) || (names && PyDict_Size(names))) {
        PyErr_SetString(PyExc_TypeError, "a desk takes no arguments");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Desk *self = (Desk *)allocate(type, 0);
    if (!self) return NULL;
    size_t size = (sizeof *self->desk + 63) / 64 * 64;
    self->desk = aligned_alloc(64, size);
    if (!self->desk) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    memset(self->desk, 0, size);
    return (PyObject *)self;
}

static void desk_free(PyObject *object) {
    Desk *self = (Desk *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->desk) wipe(self->desk, sizeof *self->desk);
    free(self->desk);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *desk_put(PyObject *object, PyObject *arguments) {
    struct desk *desk = ((Desk *)object)->desk;
    const char *key, *text;
    Py_ssize_t key_length, text_length;
    long long number;
    struct setting setting;
    if (!PyArg_ParseTuple(arguments, "Ly#y#", &number, &key, &key_length, &text, &text_length)) return NULL;
    if (key_length > MOST_KEY) {
        PyErr_SetString(PyExc_ValueError, "a key has at most 72 bytes");
        return NULL;
    }
    if (setting_read(&setting, text, (size_t)text_length)) {
        PyErr_SetString(PyExc_ValueError, "not a bcrypt setting");
        return NULL;
    }
    for (int at = 0; at < MOST_LANES; at++) {
        struct slot *slot = &desk->slots[at];
        if (atomic_load_explicit(&slot->is_full, memory_order_acquire)) continue;
        slot->job.number = number;
        slot->job.setting = setting;
        slot->job.length = (size_t)key_length;
        memcpy(slot->job.key, key, (size_t)key_length);
        atomic_store_explicit(&slot->is_full, 1, memory_order_release);
        Py_RETURN_NONE;
    }
    PyErr_SetString(PyExc_RuntimeError, "the desk is full");
    return NULL;
}

static PyObject *pairs_of(const struct ended *ended, int count) {
    PyObject *pairs = PyList_New(count);
    for (int at = 0; pairs && at < count; at++) {
        PyObject *pair = Py_BuildValue("Ly#", ended[at].number, ended[at].text, (Py_ssize_t)HASH_TEXT);
        if (!pair || PyList_SetItem(pairs, at, pair)) Py_CLEAR(pairs);
    }
    return pairs;
}

static PyObject *desk_work(PyObject *object, PyObject *nothing) {
    (void)nothing;
    Desk *self = (Desk *)object;
    struct ended ended[MOST_LANES];
    int count;
    if (self->is_taken) {
        PyErr_SetString(PyExc_RuntimeError, "another thread works at this desk");
        return NULL;
    }
    self->is_taken = 1;
    Py_BEGIN_ALLOW_THREADS
    count = work(self->desk, ended);
    Py_END_ALLOW_THREADS
    self->is_taken = 0;
    PyObject *pairs = pairs_of(ended, count);
    wipe(ended, sizeof ended);
    return pairs;
}

static PyMethodDef DESK_METHODS[] = {
    {"put", desk_put, METH_VARARGS, "Have the hash of a key and a setting computed, under a number of the caller's choice."},
    {"work", desk_work, METH_NOARGS, "Compute until something has ended: its numbers and hashes; none when there is nothing to do."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot DESK_SLOTS[] = {
    {Py_tp_doc, "Several bcrypts side by side. Whoever has the interpreter's lock may put another one there while a thread works."},
    {Py_tp_new, desk_new},
    {Py_tp_dealloc, desk_free},
    {Py_tp_methods, DESK_METHODS},
    {0, NULL},
};

static PyType_Spec DESK = {"ostiary.crypto._lanes.Desk", sizeof(Desk), 0, Py_TPFLAGS_DEFAULT, DESK_SLOTS};

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
    {"calibrate", calibrate, METH_NOARGS, "The number of lanes that is best on this processor, which is set for it."},
    {"use_hand", use_hand, METH_O, "Compute with what is written by hand, or not; False when this processor cannot."},
    {NULL, NULL, 0, NULL},
};

static int fill(PyObject *module) {
    PyObject *type = PyType_FromSpec(&DESK);
    if (!type) return -1;
    int failed = PyModule_AddObjectRef(module, "Desk", type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, fill}, {0, NULL}};
static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_lanes", "bcrypt in lanes.", 0, METHODS, SLOTS, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__lanes(void) { return PyModuleDef_Init(&MODULE); }
