"""ComfyUI nodes: a rater, scores of an image batch for that rater, and the best of a batch. Copy this folder into ComfyUI/custom_nodes."""

from .nodes import BeholderRater, BeholderScore, BeholderTopK

NODE_CLASS_MAPPINGS = {"BeholderRater": BeholderRater, "BeholderScore": BeholderScore, "BeholderTopK": BeholderTopK}
NODE_DISPLAY_NAME_MAPPINGS = {
    "BeholderRater": "Rater (beholder)",
    "BeholderScore": "Score for a rater (beholder)",
    "BeholderTopK": "Best of a batch for a rater (beholder)",
}
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
