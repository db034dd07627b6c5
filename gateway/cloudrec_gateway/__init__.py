"""The TRTC recording API, mapped onto CloudRecording resources."""
