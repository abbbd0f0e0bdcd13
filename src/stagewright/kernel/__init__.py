"""Linux kernels: settings, sources, configuration, compilation, images and modules.

=================  =================================================================================
``choose.py``      ``Kernel``, the settings in project files, and the steps that provide a kernel with them
``modules.py``     installs a kernel package and rebuilds packages with modules for another kernel
``configure.py``   kernel sources: required programs and headers, the finished configuration
``build.py``       compiles configured sources with make or genkernel
``options.py``     what a kernel supports, and what a live system requires of its kernel
``find.py``        kernel images in a root, and copies of them
=================  =================================================================================

The order for a kernel from sources is configure, check, compile: a configuration takes seconds and a compilation
takes minutes or hours (docs/decisions/028-kernels-looked-at-before-compiling.md).
"""
