"""A viewfinder, as a driver would do it: a ring of camera frames, the newest on the screen."""

from collections import deque

from gcma import CameraDriver, DisplayDriver, Frame

WIDTH, HEIGHT = 1280, 720


class Viewfinder:
    """Captures into a ring of buffers and shows each frame."""

    def __init__(self, camera: CameraDriver, display: DisplayDriver, ring: int = 3) -> None:
        self._camera = camera
        self._display = display
        self._size = ring
        self._ring: deque[Frame] = deque()

    def step(self) -> Frame:
        """Capture a frame and show it."""
        if len(self._ring) == self._size:
            self._camera.release(self._ring.popleft())
        frame = self._camera.capture(WIDTH, HEIGHT)
        self._ring.append(frame)
        self._display.blit(frame)
        return frame

    def stop(self) -> None:
        """Give the ring back."""
        for _ in range(len(self._ring) - 1):  # a fault, on purpose: one frame is forgotten
            self._camera.release(self._ring.popleft())
        self._ring.clear()
