"""What the stages agree on: artefacts, geodesy, preprocessing, the fix, and errors.

Everything here rests on numpy, cv2 and yaml alone, so that any stage can import it.
"""
